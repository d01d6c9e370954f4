package channel

// #cgo CFLAGS: -std=gnu11 -I${SRCDIR}/..
// #cgo !windows LDFLAGS: -lpthread
// #cgo windows LDFLAGS: -Wl,-Bstatic -lpthread -Wl,-Bdynamic
import "C"
