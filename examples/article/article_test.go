package article_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/examples/article"
)

func TestArticleInC(t *testing.T) {
	t.Run("builds_as_its_comment_says_and_prints_the_results", func(t *testing.T) {
		// Read all that the compiler reads, so that an edit invalidates a cached test result.
		var source []byte
		for _, name := range []string{"article.h", "../../rawwaker.h", "../../rawwaker.c", "article.c"} {
			var err error
			source, err = os.ReadFile(name)
			require.NoError(t, err)
		}
		joined := strings.ReplaceAll(string(source), "\\\n *", "")
		line := strings.Fields(regexp.MustCompile(`\bcc .* -o article\b`).FindString(joined))
		require.NotEmpty(t, line, "article.c has no build line")
		cc, err := exec.LookPath(line[0])
		if err != nil {
			t.Skip("no C compiler: ", err)
		}
		program := filepath.Join(t.TempDir(), "article")
		line[len(line)-1] = program
		out, err := exec.Command(cc, line[1:]...).CombinedOutput()
		require.NoError(t, err, "%s\n%s", strings.Join(line, " "), out)
		out, err = exec.Command(program).Output()
		require.NoError(t, err)

		var got []string
		for l := range strings.Lines(string(out)) {
			if !strings.HasPrefix(l, "-- ") {
				got = append(got, strings.TrimSpace(l))
			}
		}
		want := []string{
			`Result: 42`, `Result: 42`,
			`panic: future polled after completion`,
			`Timer expired after \d{3,}\.\d+ms`, `Timer expired after \d{3,}\.\d+ms`,
			`Result: 42 after \d{3,}\.\d+ms`, `Result: 42 after \d{3,}\.\d+ms`,
			`Poll #3`, `Poll #2`, `Poll #1`, `Poll #0`,
			`Poll #3`, `Poll #2`, `Poll #1`, `Poll #0`,
			`Both expired after \d{3,}\.\d+ms`, `Both expired after \d+\.\d+ms`,
		}
		require.Len(t, got, len(want), "%s", out)
		for i := range want {
			require.Regexp(t, "^"+want[i]+"$", got[i], "line %d", i+1)
		}
	})
}

func TestCSimple(t *testing.T) {
	t.Run("panics_without_cgo", func(t *testing.T) {
		if article.HasC {
			t.Skip("this build has it")
		}
		require.PanicsWithValue(t, "article: CSimple needs cgo", func() { article.CSimple() })
	})
}

func TestCTimerFuture(t *testing.T) {
	// C's timer outlives its future here: its thread finds no waker, and frees the rest.
	t.Run("may_be_dropped_before_it_expires", func(t *testing.T) {
		if !article.HasC {
			t.Skip("needs cgo")
		}
		ended, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := blockon.Await(ended, article.CTimerFuture(100*time.Millisecond))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(150 * time.Millisecond)
	})
}

func TestExecutor(t *testing.T) {
	t.Run("accepts_wakes_of_completed_tasks", func(t *testing.T) {
		ex := article.NewExecutor()
		for range 3 {
			// It wakes itself in each poll.
			ex.Spawn(&article.DelayFuture{Deadline: time.Now().Add(time.Millisecond)})
		}
		ex.Spawn(article.SleepForReal(5 * time.Millisecond))
		ex.Run()
		ex.Run() // returns, since no task is left
	})
}
