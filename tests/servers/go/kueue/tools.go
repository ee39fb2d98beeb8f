//go:build tools

// Package tools names the command that the tests build, so that go.mod and go.sum pin all it is made of.
package tools

import _ "sigs.k8s.io/kueue/cmd/kueue"
