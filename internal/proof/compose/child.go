package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// request is a line to a child: programs by their seeds, or one program.
type request struct {
	From    uint64   `json:",omitempty"`
	N       int      `json:",omitempty"`
	Program *Program `json:",omitempty"`
	Repeat  int      `json:",omitempty"` // of Program
	Balance bool     // compare what is alive after that
	Wait    int      `json:",omitempty"` // for that, in milliseconds; 0: 10 seconds
	Limit   int      // for each program, in milliseconds
}

// reply is a line from a child.
type reply struct {
	Seed      uint64
	Violation *Violation `json:",omitempty"`
}

// counts are what is alive.
type counts struct {
	boxes, cores, handles, futures, leaves, marks, goroutines, descriptors int
	heap                                                                   uint64
}

func now() counts {
	c := counts{boxes: capi.Live(), cores: wake.Registered(), handles: int(wake.Handles.Load()),
		futures: int(wake.Futures.Load()), leaves: cLeavesLive(),
		marks: int(marks.Load()), goroutines: runtime.NumGoroutine() - long().lasting()}
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		c.descriptors = len(entries)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c.heap = m.HeapAlloc
	return c
}

// heapGrowth is by how much the heap of a child may grow over all its programs.
const heapGrowth = 3 << 20

// balance collects garbage until nothing is alive that was not in base, and returns what is left.
func balance(base counts, wait time.Duration) *Violation {
	if !long().settle(3 * wait) {
		return &Violation{"late: a sleep was not woken", "beside others whose wakers block"}
	}
	for deadline := time.Now().Add(wait); ; time.Sleep(time.Millisecond) {
		runtime.GC()
		c := now()
		over := c.over(base)
		// A trace keeps the number of each waker as long as the process.
		grown := c.heap > base.heap+heapGrowth && !debugs("trace=")
		switch {
		case over == "" && !grown:
			return nil
		case time.Now().Before(deadline): // perhaps cleanups are due
		case over == "":
			return &Violation{"leak of heap", fmt.Sprintf("%d bytes; at first: %d", c.heap, base.heap)}
		default:
			buf := make([]byte, 1<<16)
			return &Violation{"leak of " + over, fmt.Sprintf("alive: %+v; at first: %+v\n%s",
				c, base, buf[:runtime.Stack(buf, true)])}
		}
	}
}

// over is what c has more of than base, the heap excepted; or "".
func (c counts) over(base counts) string {
	var all []string
	for _, n := range []struct {
		name      string
		now, then int
	}{
		{"boxes", c.boxes, base.boxes}, {"cores", c.cores, base.cores},
		{"handles", c.handles, base.handles}, {"futures", c.futures, base.futures},
		{"C leaves", c.leaves, base.leaves}, {"what was given up", c.marks, base.marks},
		{"goroutines", c.goroutines, base.goroutines},
		{"descriptors", c.descriptors, base.descriptors},
	} {
		if n.now > n.then {
			all = append(all, n.name)
		}
	}
	return strings.Join(all, ", ")
}

// child runs what its standard input asks for. at is a file that has the seed of the program that
// runs, for the case that the process ends.
func child(at string) {
	progress, err := os.OpenFile(at, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	go watchdog()
	var base *counts
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			panic(err)
		}
		answer := reply{}
		limit := time.Duration(r.Limit) * time.Millisecond
		if base == nil {
			base = warmUp(limit)
		}
		if r.Program != nil {
			r.N = max(r.Repeat, 1)
		}
		for i := range uint64(r.N) {
			p := r.Program
			if p == nil {
				answer.Seed = r.From + i
				progress.WriteAt(fmt.Appendf(nil, "%20d", answer.Seed), 0)
				p = Generate(answer.Seed)
			}
			if vs := runOne(p, limit); len(vs) > 0 {
				answer.Violation = &vs[0]
				break
			}
		}
		if answer.Violation == nil && r.Balance {
			wait := 10 * time.Second
			if r.Wait > 0 {
				wait = time.Duration(r.Wait) * time.Millisecond
			}
			answer.Violation = balance(*base, wait)
			long().release()
		}
		out.Encode(answer)
	}
}

// warmUp makes what is made once and stays, and returns what is alive then. Its programs have no
// faults, so that most violations are found later, where their seeds are known.
func warmUp(limit time.Duration) *counts {
	planted := plant
	plant = nil
	for seed, n := uint64(0), 0; n < 20; seed++ {
		if p := Generate(seed); !p.Config.Faults {
			runOne(p, limit)
			n++
		}
	}
	plant = planted
	for i := range ways {
		long().giveUpOne(i)
	}
	long().release()
	long().settle(3 * time.Minute)
	runtime.GC()
	for range 3 {
		time.Sleep(time.Millisecond)
		runtime.GC()
	}
	base := now()
	return &base
}

// running is the World that watchdog watches, and since when.
var running struct {
	sync.Mutex
	w     *World
	until time.Time
}

// watchdog ends the process with status 3 if a program hangs.
func watchdog() {
	for range time.Tick(100 * time.Millisecond) {
		running.Lock()
		if running.w != nil && time.Now().After(running.until) {
			running.w.hangs()
		}
		running.Unlock()
	}
}

// runOne runs a program. If it hangs, the process ends with status 3.
func runOne(p *Program, limit time.Duration) []Violation {
	w := Start(p.Config)
	running.Lock()
	running.w, running.until = w, time.Now().Add(limit)
	running.Unlock()
	defer func() {
		running.Lock()
		running.w = nil
		running.Unlock()
	}()
	return p.run(w)
}
