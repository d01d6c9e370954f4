//go:build cgo && linux

package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// A tracingLoop must not cost more because tracing is compiled in, as long as it is off.
type tracingLoop struct {
	name string
	loop func() float64 // ns per round
	// rounds make about ten million instructions. 0: instructions are not counted, because several
	// threads take part and their number varies.
	rounds int
}

// tracingLoops are measured in builds with and without tracing, in separate processes.
var tracingLoops = []tracingLoop{
	{"WakeByRef", loopOf("Go: WakeByRef of a Go-made waker already woken, ns"), 400_000},
	{"Clone + Drop", loopOf("Go: Clone + Drop of a Go-made waker, ns"), 40_000},
	{"FromRaw + Drop", loopOf("Go: FromRaw + Drop of a C waker, ns"), 20_000},
	{"FromFunc + Drop", each(many/50, func(n int) {
		f := func() {}
		for range n {
			rawwaker.FromFunc(f).Drop()
		}
	}), 40_000},
	{"BlockOn, ready", loopOf("BlockOn of a ready future, ns"), 40_000},
	{"BlockOn, self-waking", loopOf("BlockOn of a self-waking future, ns per poll"), 200_000},
	{"BlockOn whose waker is cloned", each(many/50, func(n int) {
		for range n {
			blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				cx.Waker().Clone().Drop()
				return rawwaker.Ready(0)
			}))
		}
	}), 20_000},
	{"C future, ready at once", loopOf(readyFuture), 20_000},
	{"spawn_many", func() float64 { return once(func() { spawnMany(10_000) }) }, 0},
	{"chained_spawn", func() float64 { return once(func() { chainedSpawn(1000) }) }, 0},
}

// loopOf is our side of the named figure.
func loopOf(name string) func() float64 {
	return func() float64 {
		for _, f := range slices.Concat(loops, crossings) {
			if f.name == name {
				return f.ours()
			}
		}
		panic("bench: no figure " + name)
	}
}

// runTracingLoop is the work of a child process. If count is 0, it repeats the loop for 60 ms and
// returns the shortest time, since other work on the machine can only add to it. Otherwise it runs
// count rounds once, for callgrind.
func runTracingLoop(name string, count int) float64 {
	i := slices.IndexFunc(tracingLoops, func(l tracingLoop) bool { return l.name == name })
	loop := tracingLoops[i].loop
	if rounds = count; count != 0 {
		return loop()
	}
	best := loop()
	for start := time.Now(); time.Since(start) < 60*time.Millisecond; {
		best = min(best, loop())
	}
	return best
}

const (
	withTracing    = "ffiwakertrace" // no file has this tag: an ordinary build
	withoutTracing = "ffiwakernotrace"
)

// tracingOff are the figures of tracingLoops. The place of a function in the program can change its
// time by a tenth. So the linker shuffles the functions of both builds of a pair by one seed, and
// each pair has another seed; and the instructions of single-threaded loops are counted too.
func tracingOff() (all []figure) {
	for _, l := range tracingLoops {
		seed := 0
		all = append(all, figure{
			name: tracingPrefix + l.name + ", ns", goal: 1.02, pairs: 9, slow: true,
			peer: "a build with the tag ffiwakernotrace; each sample in a separate process",
			both: func() (ours, peer float64) {
				seed++
				ours, peer = math.Inf(1), math.Inf(1)
				for range 12 { // alternating, so that a disturbance affects both
					ours = min(ours, childOf(shuffled(withTracing, seed), l.child(0)).Loop)
					peer = min(peer, childOf(shuffled(withoutTracing, seed), l.child(0)).Loop)
				}
				return ours, peer
			},
		})
		if l.rounds == 0 {
			continue
		}
		all = append(all, figure{
			name: tracingPrefix + l.name + ", instructions", goal: 1.02, pairs: 1, slow: true,
			peer:  "a build with the tag ffiwakernotrace, counted by callgrind",
			needs: "valgrind",
			both: func() (ours, peer float64) {
				ours = l.instructions(shuffled(withTracing, 1))
				peer = l.instructions(shuffled(withoutTracing, 1))
				return ours, peer
			},
		})
	}
	return all
}

// child is the loop as a child process gets it.
func (l tracingLoop) child(rounds int) string {
	return fmt.Sprintf("tracing %d %q", rounds, l.name)
}

var collected = regexp.MustCompile(`Collected : (\d+)`)

// instructions counts those of one round: callgrind's count for twice the rounds, less its count
// for the rounds.
func (l tracingLoop) instructions(exe string) float64 {
	count := func(n int) float64 {
		cmd := exec.Command("valgrind",
			"--tool=callgrind", "--callgrind-out-file=/dev/null", exe)
		cmd.Env = append(os.Environ(), childEnv+"="+l.child(n), "GOGC=off", "GOMAXPROCS=1",
			"GODEBUG=asyncpreemptoff=1") // callgrind 3.19 fails an assertion in a signal handler
		text, err := cmd.CombinedOutput()
		m := collected.FindSubmatch(text)
		if err != nil || m == nil {
			panic(fmt.Sprintf("bench: valgrind: %v: %s", err, text))
		}
		v, _ := strconv.ParseFloat(string(m[1]), 64)
		return v
	}
	return (count(2*l.rounds) - count(l.rounds)) / float64(l.rounds)
}

// self is this program's file.
func self() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}

// shuffledBuilds are the programs that shuffled has built, by tag and seed.
var shuffledBuilds = map[string]string{}

// shuffled returns this program built with a tag, its functions in an order that depends on seed.
func shuffled(tag string, seed int) string {
	key := fmt.Sprintf("%s-%d", tag, seed)
	if exe, ok := shuffledBuilds[key]; ok {
		return exe
	}
	dir, err := benchDir()
	if err != nil {
		panic(err)
	}
	exe := filepath.Join(buildsDir(), key)
	cmd := exec.Command("go", "build", "-tags", tag,
		"-ldflags", fmt.Sprintf("-randlayout=%d", seed), "-o", exe, "./"+dir)
	if text, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("bench: go build: %v: %s", err, text))
	}
	shuffledBuilds[key] = exe
	return exe
}
