"""An example for each group of fields, for the page on the API. A test judges each in its place."""

from kubetune_api.tasks import TASKS

_TASK = next(iter(TASKS))

JOB_EXAMPLES = {
    "spec.model": "{uri: hf://google-bert/bert-base-uncased, revision: 86b5e0934494bd15c9632b12f734a8a67f723594}",
    "spec.task": f"{{type: {_TASK}, labels: [fresh, rotten], maxLength: 128}}",
    "spec.task.multiLabelClassification": "{separator: ';', threshold: 0.5}",
    "spec.task.sequenceRegression": "{loss: Huber, huberDelta: 0.5}",
    "spec.task.preference": "{loss: Sigmoid, beta: 0.1}",
    "spec.task.embedding": "{pooling: Mean, temperature: 0.05}",
    "spec.task.sequenceClassification": "{classWeights: Balanced}",
    "spec.task.sequenceClassification.weights": "[{label: fresh, weight: 3}]",
    "spec.task.seq2Seq": "{maxTargetLength: 64}",
    "spec.dataset": "{uri: file://data.csv, columns: {text: text, label: label}}",
    "spec.dataset.columns": "{text: body, label: verdict}",
    "spec.dataset.cleaning": "{minCharacters: 8, unicodeNormalization: NFKC}",
    "spec.dataset.validation": "{uri: s3://data/validation.csv}",
    "spec.dataset.test": "{uri: s3://data/test.parquet}",
    "spec.method": "{type: Full, freeze: {embeddings: true}}",
    "spec.method.freeze": "{embeddings: true, bottomLayers: 4}",
    "spec.method.lora": "{rank: 16, alpha: 32, targets: Attention}",
    "spec.method.quantization": "{type: NF4, doubleQuantization: true}",
    "spec.training": "{epochs: 3, globalBatchSize: 32, learningRate: 2.0e-5}",
    "spec.training.schedule": "{type: Cosine, warmupRatio: 0.06}",
    "spec.training.optimizer": "{type: AdamW, weightDecay: 0.01}",
    "spec.training.earlyStopping": "{patience: 3, minDelta: 0.001}",
    "spec.training.checkpoints": "{everySteps: 200, everySeconds: 900}",
    "spec.training.watchdog": "{onSpike: Fail}",
    "spec.profileRef": "{name: a100-80g}",
    "spec.resources": "{workers: 8, minWorkers: 4}",
    "spec.zero": "{stage: 2}",
    "spec.evaluation": "{require: [{metric: test/accuracy, min: 0.8}]}",
    "spec.evaluation.require": "[{metric: test/loss, max: 1.2}]",
    "spec.evaluation.slices": "[{name: german, column: lang, values: [de]}]",
    "spec.evaluation.generation": "{maxRows: 100, maxNewTokens: 64}",
    "spec.output": "{uri: s3://tenants/team-a/models}",
    "spec.credentials": "[{prefix: s3://tenants/team-a, secretName: s3-team-a}]",
    "spec.inheritedMetadata": "{labels: {cost-center: nlp}}",
    "spec.retry": "{maxAttempts: 2, backoffSeconds: 60}",
}
PROFILE_EXAMPLES = {
    "spec.namespaceSelector": "{matchLabels: {example.com/tier: research}}",
    "spec.namespaceSelector.matchExpressions": "[{key: example.com/tier, operator: In, values: [research]}]",
    "spec.inheritedMetadata": "{labels: {managed-by: platform}}",
    "spec.allowedInheritedMetadata": "{labels: [cost-center]}",
    "spec.limits": "{maxWorkers: 16, maxActiveDeadlineSeconds: 86400}",
    "spec.accelerator": "{resourceName: nvidia.com/gpu, memory: 80Gi}",
    "spec.worker": "{cpu: '8', memory: 64Gi}",
    "spec.head": "{cpu: '2', memory: 16Gi, nodeSelector: {pool: cpu}}",
    "spec.head.tolerations": "[{key: dedicated, value: training, effect: NoSchedule}]",
    "spec.submitter": "{cpu: 200m, memory: 1Gi}",
    "spec.submitter.tolerations": "[{operator: Exists}]",
    "spec.tolerations": "[{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]",
    "spec.credentials": "[{prefix: 's3://tenants/{namespace}', secretName: s3-credentials}]",
    "spec.signing": "{secretName: model-signing, key: signing.pem}",
    "spec.endpoints": "[{scheme: s3, url: 'https://minio.storage.svc:9000'}]",
    "spec.egress": "[{cidr: 10.20.0.0/16, ports: [443]}]",
}
EXAMPLES = {"FineTuneJob": JOB_EXAMPLES, "FineTuneProfile": PROFILE_EXAMPLES}
"""By kind, then by the path of the group; each is the group's value in YAML."""
