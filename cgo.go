package ffiwaker

// #cgo CFLAGS: -std=gnu11
// #cgo !windows LDFLAGS: -lpthread
// #cgo windows LDFLAGS: -Wl,-Bstatic -lpthread -Wl,-Bdynamic
import "C"
