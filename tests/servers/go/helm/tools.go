//go:build tools

// Package tools names the command that the tests build, so that go.mod and go.sum pin all it is made of.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
