package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// plantVariable names the fault that a child plants.
const plantVariable = "COMPOSE_PLANT"

func TestMain(m *testing.M) {
	if at := os.Getenv(childVariable); at != "" {
		plant = plants[os.Getenv(plantVariable)]
		child(at)
		return
	}
	os.Exit(m.Run())
}

// plants are faults of combinators.
var plants = map[string]func(op string, f F) F{
	"drops_twice": func(op string, f F) F {
		if op != "Leaf" {
			return f
		}
		return &twoFuncs{poll: f.Poll, drop: func() { drop(f); drop(f) }}
	},
	"drops_nothing": func(op string, f F) F {
		if op != "Join" {
			return f
		}
		return &twoFuncs{poll: f.Poll, drop: func() {}}
	},
	"is_polled_after_ready": func(op string, f F) F {
		if op != "Leaf" {
			return f
		}
		return &twoFuncs{poll: func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
			p := f.Poll(cx)
			if p.IsReady() {
				f.Poll(cx)
			}
			return p
		}, drop: func() { drop(f) }}
	},
	"forgets_its_waker": func(op string, f F) F {
		if op != "Map" {
			return f
		}
		return &twoFuncs{poll: func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
			return f.Poll(rawwaker.NewContext(rawwaker.Noop()))
		}, drop: func() { drop(f) }}
	},
	"loses_a_value": func(op string, f F) F {
		if op != "All" {
			return f
		}
		return &twoFuncs{poll: func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
			p := f.Poll(cx)
			if p.IsReady() {
				v := p.Value()
				return rawwaker.Ready(v & (v - 1))
			}
			return p
		}, drop: func() { drop(f) }}
	},
}

func TestGenerate(t *testing.T) {
	t.Run("gives_the_same_program_for_the_same_seed", func(t *testing.T) {
		for seed := range uint64(500) {
			require.Equal(t, Generate(seed), Generate(seed))
			require.Equal(t, Generate(seed).String(), Generate(seed).String())
		}
		require.NotEqual(t, Generate(1), Generate(2))
	})
	t.Run("uses_every_operation", func(t *testing.T) {
		if !HasC {
			t.Skip("without C its operations are left out")
		}
		ops := map[string]bool{}
		for seed := range uint64(40000) { // some are rare
			p := Generate(seed)
			for i := range p.Steps {
				ops[p.Steps[i].Op] = true
				p.Steps[i].Tree.visit(func(n *Node) { ops[n.Op] = true })
			}
		}
		for _, of := range methods {
			for op := range of {
				if op != "End" && op != "Expect" {
					require.True(t, ops[op], "no program has %s", op)
				}
			}
		}
	})
}

func TestProgram(t *testing.T) {
	t.Run("holds", func(t *testing.T) {
		n := 3000
		if testing.Short() {
			n = 500
		}
		p := start()
		defer p.end()
		got := p.ask(request{From: 1, N: n, Balance: true, Limit: 120000})
		if v := got.Violation; v != nil {
			t.Fatalf("seed %d: %s\n%s\n%s\nagain: go run ./internal/proof/compose -seed %[1]d -programs 1",
				got.Seed, v.Kind, Generate(got.Seed), v.Detail)
		}
	})
	t.Run("is_the_same_after_a_way_through_JSON", func(t *testing.T) {
		for seed := range uint64(200) {
			p := Generate(seed)
			text, err := json.Marshal(p)
			require.NoError(t, err)
			q := new(Program)
			require.NoError(t, json.Unmarshal(text, q))
			require.Equal(t, p.String(), q.String())
		}
	})
}

func TestShrink(t *testing.T) {
	for name, c := range map[string]struct {
		kind  string
		nodes int
	}{
		"drops_twice":           {"dropped twice", 4},
		"drops_nothing":         {"never dropped", 4},
		"is_polled_after_ready": {"polled after ready", 2},
		"forgets_its_waker":     {"hang", 3},
		"loses_a_value":         {"wrong result", 3},
	} {
		t.Run("finds_and_shrinks_a_combinator_that_"+name, func(t *testing.T) {
			t.Setenv(plantVariable, name)
			var found reply
			for from := uint64(1); from < 20000; {
				p := start()
				found = p.ask(request{From: from, N: 1000, Limit: 3000})
				p.end()
				if v := found.Violation; v != nil && v.Kind == c.kind {
					break
				}
				from = max(from+1, found.Seed+1)
			}
			require.NotNil(t, found.Violation)
			require.Equal(t, c.kind, found.Violation.Kind)
			s := &shrinker{kind: c.kind, until: time.Now().Add(time.Minute)}
			defer s.end()
			small := shrink(Generate(found.Seed), s.bad)
			nodes := 0
			for _, step := range small.Steps {
				step.Tree.visit(func(*Node) { nodes++ })
			}
			require.LessOrEqual(t, nodes, c.nodes, "%s", small)
			require.LessOrEqual(t, len(small.Steps), 3, "%s", small)
		})
	}
}

func TestRest(t *testing.T) {
	cx := rawwaker.NewContext(rawwaker.Noop())
	t.Run("notices_a_receiver_beside_a_value_until_it_is_polled", func(t *testing.T) {
		w := Start(Config{})
		defer w.cancel()
		f := (&Task{w: w}).Recv(0)
		require.False(t, f.Poll(cx).IsReady())
		require.Empty(t, w.restless())
		w.trySend(0, 2)
		require.Equal(t, "a Recv beside a value", w.restless())
		require.True(t, f.Poll(cx).IsReady())
		require.Empty(t, w.restless())
	})
	t.Run("notices_a_sender_beside_a_place_until_it_is_dropped", func(t *testing.T) {
		w := Start(Config{})
		defer w.cancel()
		w.trySend(0, 2)
		f := (&Task{w: w}).Send(0, 2)
		require.False(t, f.Poll(cx).IsReady())
		require.Empty(t, w.restless())
		w.TryRecv(0)
		require.Equal(t, "a Send beside a free place", w.restless())
		drop(f)
		require.Empty(t, w.restless())
	})
	t.Run("expects_nothing_of_a_channel_with_a_waiter_that_no_one_polls", func(t *testing.T) {
		w := Start(Config{})
		defer w.cancel()
		forgotten, f := (&Task{w: w, forgotten: true}).Recv(0), (&Task{w: w}).Recv(0)
		require.False(t, forgotten.Poll(cx).IsReady())
		require.False(t, f.Poll(cx).IsReady())
		w.trySend(0, 2)
		require.Empty(t, w.restless())
		drop(f)
		drop(forgotten)
	})
}

func TestSource(t *testing.T) {
	t.Run("compiles_and_uses_public_names_only", func(t *testing.T) {
		root, err := filepath.Abs("../../..")
		require.NoError(t, err)
		dir := t.TempDir()
		for _, seed := range []uint64{1, 2, 3} {
			source, err := Generate(seed).Source("// A program.\n")
			require.NoError(t, err, "%s", source)
			require.NotContains(t, source, "ffiwaker/internal/")
			name := filepath.Join(dir, "main.go")
			require.NoError(t, os.WriteFile(name, []byte(source), 0o600))
			bin := filepath.Join(dir, "program")
			if runtime.GOOS == "windows" {
				bin += ".exe"
			}
			build := exec.Command("go", "build", "-o", bin, name)
			build.Dir = root // whose go.mod it uses
			build.Env = append(os.Environ(), "CGO_CFLAGS=-I"+root+" -I"+filepath.Join(root, "channel"))
			out, err := build.CombinedOutput()
			require.NoError(t, err, "%s", out)
			// Without cgo, a panic of a waker's function is reported on standard error.
			run := exec.Command(bin)
			var stdout, stderr strings.Builder
			run.Stdout, run.Stderr = &stdout, &stderr
			require.NoError(t, run.Run(), "%s%s", &stdout, &stderr)
			require.Empty(t, stdout.String())
		}
	})
}
