// With this file the compiler accepts functions without a body: those of labels.go are in Go's runtime.
