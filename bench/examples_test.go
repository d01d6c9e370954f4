//go:build cgo && linux

package main

import (
	"errors"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExamples(t *testing.T) {
	shell := func(script string) (map[string]float64, error) {
		return runMeasure(exec.Command("sh", "-c", script), "a")
	}
	// with replaces what the programs have printed.
	with := func(t *testing.T, vs map[string]values) {
		t.Helper()
		before := measured
		measured = vs
		t.Cleanup(func() { measured = before })
	}
	ran := fromExamples{[]string{"a", "b"}, "ran.ours", "ran.callback"}

	t.Run("reads_the_lines", func(t *testing.T) {
		found, err := shell(`printf 'a.cpu\t1.5\na.rss\t20\n'`)
		require.NoError(t, err)
		require.Equal(t, map[string]float64{"a.cpu": 1.5, "a.rss": 20}, found)
	})
	t.Run("status_3_has_a_reason", func(t *testing.T) {
		_, err := shell(`echo no server >&2; exit 3`)
		require.EqualError(t, err, "no server")
	})
	t.Run("any_other_failure_panics", func(t *testing.T) {
		require.PanicsWithValue(t, "bench: examples/a/measure: exit status 1: wrong answer\n",
			func() { shell(`echo wrong answer >&2; exit 1`) })
		require.PanicsWithValue(t,
			"bench: examples/a/measure: not a name, a tab and a number: \"a.cpu 1\\n\"",
			func() { shell(`echo a.cpu 1`) })
	})
	t.Run("an_example_that_does_not_exist_is_left_out", func(t *testing.T) {
		with(t, map[string]values{})
		none := fromExamples{[]string{"none"}, "cpu.ours", "cpu.callback"}
		require.Equal(t, "none: there is no examples/none/measure", none.noneReason())
	})
	t.Run("sums_what_can_be_measured", func(t *testing.T) {
		with(t, map[string]values{
			"a": {of: map[string]float64{"a.ran.ours": 1, "a.ran.callback": 30}},
			"b": {of: map[string]float64{"b.ran.ours": 2, "b.ran.callback": 10}},
		})
		require.Empty(t, ran.leftOut())
		ours, callback := ran.sums()
		require.Equal(t, []float64{3, 40}, []float64{ours, callback})

		measured["b"] = values{why: errors.New("no server")}
		require.Equal(t, []leftOut{{"b", "no server"}}, ran.leftOut())
		require.Empty(t, ran.noneReason())
		ours, callback = ran.sums()
		require.Equal(t, []float64{1, 30}, []float64{ours, callback})

		measured["a"] = values{why: errors.New("no library")}
		require.Equal(t, "a: no library; b: no server", ran.noneReason())
	})
	t.Run("a_missing_line_panics", func(t *testing.T) {
		with(t, map[string]values{"a": {of: map[string]float64{"a.ran.ours": 1}}, "b": {}})
		require.PanicsWithValue(t, "bench: examples/a/measure prints no line a.ran.callback",
			func() { ran.sums() })
	})
}
