package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

func TestLayout(t *testing.T) {
	t.Run("has_a_row_for_each_field", func(t *testing.T) {
		out, errs, status := lab("layout")
		t.Log("\n" + out)
		require.Zero(t, status)
		require.Empty(t, errs)
		fits(t, out)
		rows := make(map[string][]string)
		for line := range strings.Lines(out) {
			if w := strings.Fields(line); len(w) > 1 {
				rows[w[0]] = w[1:]
			}
		}
		for _, s := range structs {
			require.Contains(t, rows, s.name)
			for _, field := range s.fields {
				require.GreaterOrEqual(t, len(rows[field]), 6, field)
				if capi.HasCgo {
					require.Len(t, rows[field], 7, field)
					require.Regexp(t, "^0x[0-9a-f]+$", rows[field][6])
				}
			}
		}
		if !capi.HasCgo {
			require.Contains(t, out, noCgo)
		}
	})
	t.Run("of_Go_is_that_of_C", func(t *testing.T) {
		if !capi.HasCgo {
			t.Skip("needs cgo")
		}
		c, g := inC(), inGo()
		require.Len(t, c, 10)
		for key, f := range c {
			if !strings.HasPrefix(key, "Context") {
				require.Equal(t, f, g[key], key)
			}
		}
	})
	t.Run("recorded_for_Rust_is_what_the_probe_finds", func(t *testing.T) {
		if _, err := exec.LookPath("rustc"); err != nil {
			t.Skip("no rustc")
		}
		printed, version, err := runProbe()
		require.NoError(t, err)
		require.NotContains(t, printed, "?")
		require.Len(t, parse(printed), 10)
		if !strings.HasPrefix(recordedBy, version+" ") || parse(printed)["RawWaker"].size != "16" {
			t.Skipf("the record is of %s, and this is %s:\n%s", recordedBy, version, printed)
		}
		require.Equal(t, recorded, printed)
	})
	t.Run("uses_the_record_without_rustc_and_says_so", func(t *testing.T) {
		t.Setenv("PATH", "")
		out, _, status := lab("layout")
		require.Zero(t, status)
		require.Contains(t, out, "recorded by rustc 1.95")
		require.Contains(t, out, "no rustc on the PATH")
		fits(t, out)
	})
}
