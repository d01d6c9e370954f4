// Command compose runs random programs over all public operations against a reference model.
//
// README.md in this folder describes the programs, the model, and how to repeat one.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var (
	flagFor      = flag.Duration("for", 0, "run for this long, in place of -programs")
	flagPrograms = flag.Int("programs", 10000, "run as many programs")
	flagSeed     = flag.Uint64("seed", 0, "seed of the first program; 0: from the clock")
	flagProcs    = flag.Int("procs", 4*runtime.GOMAXPROCS(0), "processes; each waits most of the time")
	flagMost     = flag.Int("most", 1, "stop after as many violations of different kinds")
	flagLimit    = flag.Duration("limit", time.Minute, "a program that takes longer hangs")
	flagShrink   = flag.Bool("shrink", true, "shrink a program that fails")
	flagPrint    = flag.Bool("print", false, "print the program of -seed, and do not run it")
	flagProfile  = flag.String("profile", "", "write a profile of one process, which runs alone")
)

const batch = 1000

// childVariable makes the command a child that runs programs. Its value is child's argument.
const childVariable = "COMPOSE_CHILD"

func main() {
	if at := os.Getenv(childVariable); at != "" {
		child(at)
		return
	}
	flag.Parse()
	if *flagSeed == 0 {
		*flagSeed = uint64(time.Now().UnixNano()) >> 10 << 10
	}
	if *flagPrint {
		fmt.Print(Generate(*flagSeed))
		return
	}
	if *flagProfile != "" {
		profile(*flagProfile)
		return
	}
	r := &runner{next: *flagSeed, kinds: map[string]bool{}, start: time.Now(),
		running: make([]*os.Process, *flagProcs)}
	if *flagFor > 0 {
		r.deadline = r.start.Add(*flagFor)
	} else {
		r.last = *flagSeed + uint64(*flagPrograms)
	}
	var wg sync.WaitGroup
	for i := range *flagProcs {
		wg.Go(func() { r.lane(i) })
	}
	wg.Wait()
	took := time.Since(r.start)
	fmt.Printf("%d programs from seed %d, %d violations, %v, %.0f a second\n", r.done.Load(),
		*flagSeed, len(r.kinds), took.Round(time.Millisecond),
		float64(r.done.Load())/took.Seconds())
	if len(r.kinds) > 0 {
		os.Exit(1)
	}
}

func profile(name string) {
	f, err := os.Create(name)
	if err != nil {
		panic(err)
	}
	pprof.StartCPUProfile(f)
	defer pprof.StopCPUProfile()
	start := time.Now()
	for i := range uint64(*flagPrograms) {
		began := time.Now()
		runOne(Generate(*flagSeed+i), *flagLimit)
		if took := time.Since(began); took > 20*time.Millisecond {
			fmt.Println("seed", *flagSeed+i, "took", took)
		}
	}
	fmt.Println(time.Since(start))
}

// runner is the command's own process.
type runner struct {
	mu       sync.Mutex
	next     uint64
	last     uint64
	deadline time.Time
	start    time.Time
	kinds    map[string]bool
	done     atomic.Int64
	running  []*os.Process // of the lanes
}

// take returns the next seeds.
func (r *runner) take() (from uint64, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = batch
	switch {
	case len(r.kinds) >= *flagMost:
		return 0, 0
	case !r.deadline.IsZero():
		if time.Now().After(r.deadline) {
			return 0, 0
		}
	default:
		n = int(min(batch, r.last-r.next))
	}
	from = r.next
	r.next += uint64(n)
	return from, n
}

func (r *runner) lane(i int) {
	var p *process
	defer func() { p.end() }()
	for {
		from, n := r.take()
		if n == 0 {
			return
		}
		for n > 0 {
			if p == nil {
				if p = start(); !r.lanes(i, p) {
					return
				}
			}
			got := p.ask(request{From: from, N: n, Balance: true, Limit: int(flagLimit.Milliseconds())})
			if got.Violation == nil {
				r.done.Add(int64(n))
				break
			}
			if r.enough() {
				return // perhaps killed
			}
			p.end()
			p = nil
			seed := got.Seed
			if atBalance(got.Violation.Kind) {
				seed = r.leaking(from, n, got.Violation.Kind)
				r.report(i, seed, got.Violation)
				r.done.Add(int64(n))
				break
			}
			r.report(i, seed, got.Violation)
			if seed < from { // a program that warms up
				break
			}
			r.done.Add(int64(seed + 1 - from))
			n -= int(seed + 1 - from)
			from = seed + 1
		}
	}
}

// atBalance is whether a violation is one that is found after all programs of a batch.
func atBalance(kind string) bool {
	for _, start := range []string{"leak", "late", "the auditor"} {
		if strings.HasPrefix(kind, start) {
			return true
		}
	}
	return false
}

// enough is whether as many kinds of violations were found as are wanted.
func (r *runner) enough() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.kinds) >= *flagMost
}

// lanes notes the process of a lane, to be killed when enough was found. False: that is so already.
func (r *runner) lanes(i int, p *process) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[i] = p.cmd.Process
	return len(r.kinds) < *flagMost
}

// leaking returns which of n programs leaks. If none does without those before it, it is the last.
func (r *runner) leaking(from uint64, n int, kind string) uint64 {
	for n > 1 {
		half := n / 2
		p := start()
		got := p.ask(request{From: from, N: half, Balance: true, Wait: 2000, Limit: 60000})
		p.end()
		if got.Violation != nil && got.Violation.Kind == kind {
			n = half
		} else {
			from, n = from+uint64(half), n-half
		}
	}
	return from
}

// report prints a violation, once for each kind.
func (r *runner) report(lane int, seed uint64, v *Violation) {
	r.mu.Lock()
	if r.kinds[v.Kind] || len(r.kinds) >= *flagMost {
		r.mu.Unlock()
		return
	}
	r.kinds[v.Kind] = true
	if len(r.kinds) == *flagMost {
		for i, p := range r.running {
			if i != lane && p != nil {
				p.Kill()
			}
		}
	}
	r.mu.Unlock()
	p := Generate(seed)
	text := ""
	if *flagShrink {
		s := &shrinker{kind: v.Kind, until: time.Now().Add(90 * time.Second)}
		defer s.end()
		if s.bad(p) {
			p = shrink(p, s.bad)
			v = &s.last
		} else {
			text = "(it does not fail again by itself, so it was not shrunk)\n"
		}
	}
	again := fmt.Sprintf("go run ./internal/proof/compose -seed %d -programs 1", seed)
	name := filepath.Join(os.TempDir(), fmt.Sprintf("compose-%d", seed), "main.go")
	run := fmt.Sprintf("CGO_CFLAGS=\"-I$PWD -I$PWD/channel\" go run %s", name)
	source, err := p.Source(fmt.Sprintf("// A program that fails: %s.\n//\n//\t%s\n//\n"+
		"// It came from\n//\n//\t%s\n", v.Kind, run, again))
	if err == nil {
		os.MkdirAll(filepath.Dir(name), 0o700)
		err = os.WriteFile(name, []byte(source), 0o600)
	}
	if err != nil {
		text += err.Error() + "\n"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Printf("violation: seed %d: %s\n\n%s\n%s\n%s\nin the project's folder, this program: %s\n"+
		"in the project's folder, the seed: %s\n\n",
		seed, v.Kind, p, cut(v.Detail), text, run, again)
}

func cut(s string) string {
	if len(s) > 6000 {
		s = s[:6000] + "..."
	}
	return s
}

type shrinker struct {
	kind  string
	p     *process
	last  Violation
	until time.Time
}

func (s *shrinker) end() { s.p.end() }

// bad is whether a program still fails in the same way.
func (s *shrinker) bad(p *Program) bool {
	if time.Now().After(s.until) {
		return false
	}
	if s.p == nil {
		s.p = start()
	}
	r := request{Program: p, Repeat: 30, Limit: 2000}
	if atBalance(s.kind) {
		r.Repeat, r.Balance, r.Wait = 1, true, 1000
	}
	got := s.p.ask(r)
	if got.Violation == nil {
		return false
	}
	s.p.end()
	s.p = nil
	if got.Violation.Kind != s.kind {
		return false
	}
	s.last = *got.Violation
	return true
}

// process is a child.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	folder string
	errs   *os.File
	read   int // of errs
}

func start() *process {
	p := &process{}
	var err error
	if p.folder, err = os.MkdirTemp("", "compose"); err != nil {
		panic(err)
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	p.cmd = exec.Command(self)
	p.cmd.Env = append(os.Environ(), childVariable+"="+filepath.Join(p.folder, "seed"))
	p.in, _ = p.cmd.StdinPipe()
	out, _ := p.cmd.StdoutPipe()
	p.out = bufio.NewReader(out)
	p.errs, _ = os.Create(filepath.Join(p.folder, "stderr"))
	p.cmd.Stderr = p.errs
	if err := p.cmd.Start(); err != nil {
		panic(err)
	}
	return p
}

// ask sends a request. If the child ends, that is the violation.
func (p *process) ask(r request) (got reply) {
	line, _ := json.Marshal(r)
	p.in.Write(append(line, '\n'))
	text, err := p.out.ReadBytes('\n')
	if err == nil && json.Unmarshal(text, &got) == nil {
		if got.Violation == nil {
			got.Violation = p.audited()
		}
		return got
	}
	status := p.cmd.Wait()
	p.cmd = nil
	seed, _ := os.ReadFile(filepath.Join(p.folder, "seed"))
	fmt.Sscan(string(seed), &got.Seed)
	stderr, _ := os.ReadFile(filepath.Join(p.folder, "stderr"))
	said := string(stderr)
	kind := "the process ended: "
	var exit *exec.ExitError
	if errors.As(status, &exit) && exit.ExitCode() == 3 {
		kind = "hang"
		if i := strings.LastIndex(said, "violation: hang: "); i >= 0 {
			said = said[i+len("violation: hang: "):]
		}
	} else {
		kind += reason(said, status)
	}
	got.Violation = &Violation{kind, said}
	return got
}

// audited is what the auditor has reported on standard error since the last call. A leak is what is
// forgotten on purpose.
func (p *process) audited() *Violation {
	said, _ := os.ReadFile(p.errs.Name())
	text := string(said[p.read:])
	p.read = len(said)
	const prefix = "rawwaker audit: "
	for line := range strings.Lines(text) {
		rule, _, _ := strings.Cut(strings.TrimPrefix(line, prefix), ":")
		if strings.HasPrefix(line, prefix) && rule != "leak" {
			return &Violation{"the auditor: " + rule, text[strings.Index(text, line):]}
		}
	}
	return nil
}

// reason is what a process has ended with, without what differs from run to run.
func reason(said string, status error) string {
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		for _, start := range []string{"panic: ", "fatal error: ", "==", "rawwaker", "SIG"} {
			if strings.HasPrefix(line, start) {
				line, _, _ = strings.Cut(line, "0x")
				return line
			}
		}
	}
	return fmt.Sprint(status)
}

func (p *process) end() {
	if p == nil {
		return
	}
	if p.cmd != nil {
		p.in.Close()
		p.cmd.Process.Kill()
		p.cmd.Wait()
	}
	p.errs.Close()
	os.RemoveAll(p.folder)
}
