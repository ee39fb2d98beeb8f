"""The API of kubetune, group `kubetune.dev`: its models, the CRDs made from them, and the reading of manifests."""
