{{/*
`helm upgrade --reuse-values` keeps the values of the older chart whole: what came since is missing, and gets its
default here. Labels and resources are the user's own maps: what he took out of them stays out.
*/}}
{{- define "kubetune.complete" -}}
{{- include "kubetune.fill" (dict "values" .Values "defaults" (.Files.Get "files/values.yaml" | fromYaml)) -}}
{{- end -}}

{{- define "kubetune.fill" -}}
{{- range $key, $default := .defaults -}}
{{- $value := get $.values $key -}}
{{- if not (hasKey $.values $key) -}}
{{- $_ := set $.values $key $default -}}
{{- else if and (kindIs "map" $default) (kindIs "map" $value) (not (has $key (list "labels" "resources"))) -}}
{{- include "kubetune.fill" (dict "values" $value "defaults" $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* CRDs are the cluster's, and two operators would handle every job twice. `helm template` finds no other release. */}}
{{- define "kubetune.onlyRelease" -}}
{{- range (lookup "rbac.authorization.k8s.io/v1" "ClusterRole" "" "").items -}}
{{- $labels := default dict .metadata.labels -}}
{{- $annotations := default dict .metadata.annotations -}}
{{- $release := get $annotations "meta.helm.sh/release-name" -}}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" -}}
{{- $ours := and (hasPrefix (printf "%s-" $.Chart.Name) (get $labels "helm.sh/chart")) (eq (get $labels "app.kubernetes.io/component") "operator") -}}
{{- if and $ours $release (or (ne $release $.Release.Name) (ne $namespace $.Release.Namespace)) -}}
{{- fail (printf "the release %s in the namespace %s is kubetune already, and a cluster takes one; upgrade it (helm upgrade %s --namespace %s), or uninstall it first" $release $namespace $release $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The operator ends at its start for both, with the same words. */}}
{{- define "kubetune.knownNames" -}}
{{- $settings := .Values.operator -}}
{{- if not (or $settings.dnsPods $settings.dnsCidrs) -}}
{{- fail "operator.dnsPods and operator.dnsCidrs are empty, so that no name is known; give one of them" -}}
{{- end -}}
{{- $servers := list "169.254.169.254/32" "fd00:ec2::254/128" "fd20:ce::254/128" "100.100.100.200/32" "168.63.129.16/32" -}}
{{- range $settings.dnsCidrs -}}
{{- if and (has . $servers) (ne (toJson $settings.dnsPorts) "[53]") -}}
{{- fail (printf "operator.dnsCidrs has %s, which also gives the credentials of a machine, on other ports; give operator.dnsPorts as [53]" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kubetune.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Of 54 characters at most: -metrics and the like follow. */}}
{{- define "kubetune.fullname" -}}
{{- $name := include "kubetune.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 54 | trimSuffix "-" -}}
{{- end -}}

{{- define "kubetune.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kubetune.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "kubetune.labels" -}}
{{ include "kubetune.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{- define "kubetune.serviceAccountName" -}}
{{- default (include "kubetune.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* The reference of an image: {image: …, tag: the tag where none is given}. */}}
{{- define "kubetune.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .tag .image.tag }}
{{- end -}}
{{- end -}}
