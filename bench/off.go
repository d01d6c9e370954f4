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
	"sync"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// An offLoop is what a trace that is compiled in, and off, must not make dearer.
type offLoop struct {
	name   string
	loop   func() float64
	rounds int // so many make some ten million instructions; 0: threads take part, and do not do the same each time
}

// offLoops are measured in processes of their own, some with a trace compiled in and some without.
var offLoops = []offLoop{
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
	{"BlockOn, self-waking", loopOf("BlockOn of a self-waking future, ns a poll"), 200_000},
	{"BlockOn that hands its waker out", each(many/50, func(n int) {
		for range n {
			blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				cx.Waker().Clone().Drop()
				return rawwaker.Ready(0)
			}))
		}
	}), 20_000},
	{"a C future, ready at once", loopOf("C future ready at once: made + awaited + dropped, ns"), 20_000},
	{"spawn_many", func() float64 { return once(func() { spawnMany(10_000) }) }, 0},
	{"chained_spawn", func() float64 { return once(func() { chainedSpawn(1000) }) }, 0},
}

func loopOf(name string) func() float64 {
	return func() float64 {
		for _, f := range slices.Concat(loops, border) {
			if f.name == name {
				return f.ours()
			}
		}
		panic("bench: no figure " + name)
	}
}

// runOff is a child: it repeats the loop for a while, and gives the shortest, since what else a machine does only adds; or does so many rounds of it once.
func runOff(name string, count int) float64 {
	l := offLoops[slices.IndexFunc(offLoops, func(l offLoop) bool { return l.name == name })]
	if rounds = count; count != 0 {
		return l.loop()
	}
	best := l.loop()
	for start := time.Now(); time.Since(start) < 60*time.Millisecond; {
		best = min(best, l.loop())
	}
	return best
}

// off are the figures of offLoops. Where a function comes to lie can make it a tenth dearer or cheaper, so each pair of times is two builds whose linker
// shuffles the functions, by the same seed, and another for each pair; and what one thread does is counted in instructions, too.
func off() (all []figure) {
	const with, without = "ffiwakertrace", "ffiwakernotrace" // the first is no tag of anything
	for _, l := range offLoops {
		seed := 0
		all = append(all, figure{
			name: "tracing compiled in but off: " + l.name + ", ns", goal: 1.02, pairs: 9, slow: true,
			peer: "the same in a build with the tag ffiwakernotrace, also in processes of its own",
			both: func() (ours, peer float64) {
				seed++
				ours, peer = math.Inf(1), math.Inf(1)
				for range 12 { // by turns, so that both meet the same machine
					ours = min(ours, childOf(shuffled(with, seed), fmt.Sprintf("off 0 %q", l.name)).last)
					peer = min(peer, childOf(shuffled(without, seed), fmt.Sprintf("off 0 %q", l.name)).last)
				}
				return ours, peer
			},
		})
		if l.rounds == 0 {
			continue
		}
		all = append(all, figure{
			name: "tracing compiled in but off: " + l.name + ", instructions", goal: 1.02, pairs: 1, slow: true, needs: "valgrind",
			peer: "the same in a build with the tag ffiwakernotrace, counted by callgrind",
			both: func() (ours, peer float64) {
				return l.instructions(shuffled(with, 1)), l.instructions(shuffled(without, 1))
			},
		})
	}
	return all
}

// instructions are those of one round: what callgrind counts of twice the rounds less what it counts of them.
func (l offLoop) instructions(exe string) float64 {
	count := func(n int) float64 {
		cmd := exec.Command("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", exe)
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=off %d %q", childEnv, n, l.name), "GOGC=off", "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1") // callgrind 3.19 asserts in a signal
		text, err := cmd.CombinedOutput()
		m := regexp.MustCompile(`Collected : (\d+)`).FindSubmatch(text)
		if err != nil || m == nil {
			panic(fmt.Sprintf("bench: valgrind: %v: %s", err, text))
		}
		v, _ := strconv.ParseFloat(string(m[1]), 64)
		return v
	}
	return (count(2*l.rounds) - count(l.rounds)) / float64(l.rounds)
}

func self() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}

// cleanUp is what main does at its end.
var cleanUp []func()

// builds is a folder for them, which main removes.
var builds = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		panic(err)
	}
	cleanUp = append(cleanUp, func() { os.RemoveAll(dir) })
	return dir
})

var shuffles = map[string]string{}

// shuffled is this program built with a tag, its functions in an order by seed.
func shuffled(tag string, seed int) string {
	key := fmt.Sprintf("%s-%d", tag, seed)
	if exe, ok := shuffles[key]; ok {
		return exe
	}
	exe := filepath.Join(builds(), key)
	here := "./bench"
	if _, err := os.Stat(here); err != nil {
		here = "."
	}
	if text, err := exec.Command("go", "build", "-tags", tag, "-ldflags", fmt.Sprintf("-randlayout=%d", seed), "-o", exe, here).CombinedOutput(); err != nil {
		panic(fmt.Sprintf("bench: go build: %v: %s", err, text))
	}
	shuffles[key] = exe
	return exe
}
