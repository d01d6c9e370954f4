//go:build unix

// Package switches selects a mutant at run time: the edited Go code imports it.
//
// The code contains each edited place twice, original and edited. The environment variable MUTANT
// has the number of the edit that is on, so all mutants are compiled once. With MUTANT_REACHED=FILE
// the number of each place that runs is appended to FILE, so that only the tests that reach a place
// need to run with its edit.
package switches

import (
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"
)

var (
	on, _   = strconv.Atoi(os.Getenv("MUTANT")) // 0: none
	file    = openFile()
	reached [1 << 14]atomic.Bool
)

func openFile() int {
	name := os.Getenv("MUTANT_REACHED")
	if name == "" {
		return -1
	}
	fd, err := syscall.Open(name, syscall.O_WRONLY|syscall.O_APPEND|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	return fd
}

// On reports whether edit n is on.
//
//go:norace
func On(n int) bool {
	if file >= 0 && !reached[n].Swap(true) {
		_, _ = syscall.Write(file, []byte{byte(n), byte(n >> 8)})
	}
	return n == on
}

// Each atomic step, and the plain one that replaces it if on is set. p is the address of the word,
// which comes first in sync/atomic's types.

func Load[T any](on bool, a interface{ Load() T }, p unsafe.Pointer) T {
	if on {
		return *(*T)(p)
	}
	return a.Load()
}

func Store[T any](on bool, a interface{ Store(T) }, p unsafe.Pointer, v T) {
	if on {
		*(*T)(p) = v
		return
	}
	a.Store(v)
}

func Swap[T any](on bool, a interface{ Swap(T) T }, p unsafe.Pointer, v T) T {
	if on {
		was := *(*T)(p)
		*(*T)(p) = v
		return was
	}
	return a.Swap(v)
}

func CompareAndSwap[T comparable](
	on bool, a interface{ CompareAndSwap(old, new T) bool }, p unsafe.Pointer, old, new T,
) bool {
	if on {
		same := *(*T)(p) == old
		if same {
			*(*T)(p) = new
		}
		return same
	}
	return a.CompareAndSwap(old, new)
}

func Add[T int32 | int64 | uint32 | uint64](
	on bool, a interface{ Add(T) T }, p unsafe.Pointer, v T,
) T {
	if on {
		*(*T)(p) += v
		return *(*T)(p)
	}
	return a.Add(v)
}

func Or[T int32 | int64 | uint32 | uint64](
	on bool, a interface{ Or(T) T }, p unsafe.Pointer, v T,
) T {
	if on {
		was := *(*T)(p)
		*(*T)(p) = was | v
		return was
	}
	return a.Or(v)
}

func And[T int32 | int64 | uint32 | uint64](
	on bool, a interface{ And(T) T }, p unsafe.Pointer, v T,
) T {
	if on {
		was := *(*T)(p)
		*(*T)(p) = was & v
		return was
	}
	return a.And(v)
}

func LoadUint32(on bool, p *uint32) uint32 {
	if on {
		return *p
	}
	return atomic.LoadUint32(p)
}

func StoreUint32(on bool, p *uint32, v uint32) {
	if on {
		*p = v
		return
	}
	atomic.StoreUint32(p, v)
}

func SwapUint32(on bool, p *uint32, v uint32) uint32 {
	if on {
		was := *p
		*p = v
		return was
	}
	return atomic.SwapUint32(p, v)
}

func CompareAndSwapUint32(on bool, p *uint32, old, new uint32) bool {
	if on {
		same := *p == old
		if same {
			*p = new
		}
		return same
	}
	return atomic.CompareAndSwapUint32(p, old, new)
}

func AddUint32(on bool, p *uint32, v uint32) uint32 {
	if on {
		*p += v
		return *p
	}
	return atomic.AddUint32(p, v)
}

func LoadPointer(on bool, p *unsafe.Pointer) unsafe.Pointer {
	if on {
		return *p
	}
	return atomic.LoadPointer(p)
}

func StorePointer(on bool, p *unsafe.Pointer, v unsafe.Pointer) {
	if on {
		*p = v
		return
	}
	atomic.StorePointer(p, v)
}

func SwapPointer(on bool, p *unsafe.Pointer, v unsafe.Pointer) unsafe.Pointer {
	if on {
		was := *p
		*p = v
		return was
	}
	return atomic.SwapPointer(p, v)
}

func LoadUintptr(on bool, p *uintptr) uintptr {
	if on {
		return *p
	}
	return atomic.LoadUintptr(p)
}
