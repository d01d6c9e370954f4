package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The page and the files of this folder.
func TestResultsPage(t *testing.T) {
	a, err := readAll(".")
	require.NoError(t, err)
	require.NotEmpty(t, a.results)
	page, err := os.ReadFile("RESULTS.md")
	require.NoError(t, err)

	t.Run("matches_the_files_and_explains_each_missed_goal", func(t *testing.T) {
		require.Empty(t, strings.Join(a.problems(string(page), figures()), "\n"))
	})
	t.Run("matches_the_plots_of_docs", func(t *testing.T) {
		require.NotEmpty(t, a.drawings())
		for name, svg := range a.drawings() {
			text, err := os.ReadFile(filepath.Join("..", "docs", name))
			require.NoError(t, err)
			require.Equal(t, svg, string(text), "%s (go run ./bench -write)", name)
		}
	})
}

func TestFigures(t *testing.T) {
	all := figures()
	if all == nil {
		t.Skip("this build has no figures")
	}
	seen := map[string]bool{}
	for _, f := range all {
		require.False(t, seen[f.name], "two figures: %s", f.name)
		require.NotContains(t, f.name, "\t")
		require.NotContains(t, f.name, "|", "it would end a cell of the table")
		require.NotContains(t, f.name, "**", "it would end the bold name")
		seen[f.name] = true
	}
}

// fixture is a file of bench/results: one goal is met and one is missed.
const fixture = `# go1.26.8 linux/amd64, 2 CPUs, 2026-11-30, 9 pairs
# command: go run ./bench -save
# date: 2026-11-30
# cpu: Some CPU
# cpus: 2
# machine: virtual
# system: linux/amd64
# kernel: 6.18
# go: go1.26.8
# cc: gcc 12.2.0
# rustc: none
# valgrind: 3.19.0
# pairs: 9
# name	ours	peer	ratio	goal
fast, ns	5	1.234e+04	0.5	1
slow: ns	30	10	3	1.5
tracing compiled in but off: x, ns	1	1	1	1.02
# left out: a third, ns: no cargo
`

const curvesFixture = `# go1.26.8 linux/amd64, 2 CPUs, 2026-11-23
# command: go run ./bench -plots
# date: 2026-11-23
# cpu: Some CPU
# cpus: 2
# machine: physical
# system: linux/amd64
# kernel: 6.18
# go: go1.26.8
# cc: gcc 12.2.0
# rustc: none
# plot	curve	tasks	value
time	ffiwaker	1000	200
time	ffiwaker	10000	210
time	ffiwaker	100000	220
time	ffiwaker	1000000	230.5
memory	ffiwaker: task	1000	100
memory	ffiwaker: task	10000	90
memory	ffiwaker: task	100000	80
memory	ffiwaker: task	1000000	70
`

const paragraph = "**slow: ns**: it is three times the peer's.\n"

// knownFigures are those of the fixture.
var knownFigures = []figure{
	{name: "fast, ns", goal: 1},
	{name: "slow: ns", goal: 1.5},
	{name: "tracing compiled in but off: x, ns", goal: 1.02},
	{name: "a third, ns", goal: 1},
}

// archiveOf reads files of bench/results: names and texts alternate.
func archiveOf(t *testing.T, files ...string) *archive {
	t.Helper()
	a := new(archive)
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, a.add(files[i], files[i+1]))
	}
	return a
}

// pageOf is a RESULTS.md with the tables of a, and text below.
func pageOf(a *archive, text string) string {
	return "# Results\n\n" + beginMark + a.tables() + endMark + "\n" + text
}

func TestProblems(t *testing.T) {
	one := archiveOf(t, "some-cpu.tsv", fixture, "some-cpu.curves.tsv", curvesFixture)
	good := pageOf(one, missedTitle+"\nWhy a goal is missed.\n\n"+paragraph)

	t.Run("accepts_a_page_that_explains_each_missed_goal", func(t *testing.T) {
		require.Empty(t, one.problems(good, knownFigures))
		require.Empty(t, one.problems(good, nil), "in a build without figures")
		require.Empty(t, one.problems(good+"\n## Another section\n\nIts text.\n", knownFigures))
	})
	t.Run("accepts_a_goal_that_only_another_CPU_misses", func(t *testing.T) {
		r := strings.NewReplacer("Some CPU", "Other CPU", "\t3\t1.5", "\t1\t1.5")
		faster := r.Replace(fixture)
		two := archiveOf(t, "other-cpu.tsv", faster, "some-cpu.tsv", fixture)
		require.Empty(t, two.problems(pageOf(two, missedTitle+"\n"+paragraph), knownFigures))
	})

	for name, c := range map[string]struct {
		page  string
		known []figure
		want  string
	}{
		"reports_a_table_that_was_edited": {
			page: strings.Replace(good, "| 0.5 |", "| 0.4 |", 1),
			want: "the tables are not those of bench/results",
		},
		"reports_a_line_above_the_tables_but_between_the_marks": {
			page: strings.Replace(good, beginMark, beginMark+"More.\n", 1),
			want: "the tables are not those of bench/results",
		},
		"reports_a_missing_mark": {
			page: strings.Replace(good, endMark, "", 1),
			want: "it must have the lines <!-- bench: begin --> and <!-- bench: end -->",
		},
		"reports_a_mark_that_comes_twice": {
			page: good + endMark,
			want: "in this order and once each",
		},
		"reports_a_missed_goal_without_a_paragraph": {
			page: pageOf(one, missedTitle),
			want: `"slow: ns" misses its goal and has no paragraph`,
		},
		"reports_a_missed_goal_that_is_named_in_another_section": {
			page: pageOf(one, missedTitle+"\n## Other\n\n"+paragraph),
			want: `"slow: ns" misses its goal and has no paragraph`,
		},
		"reports_a_missed_goal_that_is_named_inside_a_paragraph": {
			page: pageOf(one, missedTitle+"\nOf **slow: ns** there is nothing to say.\n"),
			want: `"slow: ns" misses its goal and has no paragraph`,
		},
		"reports_a_missing_section": {
			page: pageOf(one, paragraph),
			want: `"slow: ns" misses its goal and has no paragraph below "## Missed goals"`,
		},
		"reports_a_paragraph_of_a_goal_that_is_met": {
			page: good + "\n**fast, ns**: it is half the peer's.\n",
			want: `"fast, ns" has a paragraph, but no run in bench/results misses its goal`,
		},
		"reports_a_paragraph_of_an_unknown_figure": {
			page: good + "\n**slow, ns**: its old name.\n",
			want: `"slow, ns" has a paragraph, but no run`,
		},
		"reports_a_second_paragraph": {
			page: good + "\n" + paragraph,
			want: `"slow: ns" has two paragraphs`,
		},
		"reports_an_empty_paragraph": {
			page: pageOf(one, missedTitle+"\n**slow: ns**:\n"),
			want: `the paragraph of "slow: ns" is empty`,
		},
		"reports_a_paragraph_without_a_name": {
			page: good + "\nAnd what else is to be said.\n",
			want: "a paragraph does not start with a bold name",
		},
		"reports_a_row_that_the_bench_does_not_have": {
			page:  good,
			known: knownFigures[1:],
			want:  `results/some-cpu.tsv: the bench has no figure "fast, ns"`,
		},
		"reports_a_goal_that_is_not_the_bench's": {
			page: good,
			known: append([]figure{{name: "fast, ns", goal: 0.4}},
				knownFigures[1:]...),
			want: `"fast, ns": the goal is 1 here and 0.4 in the bench`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			known := c.known
			if known == nil {
				known = knownFigures
			}
			found := one.problems(c.page, known)
			require.Len(t, found, 1, "%s", found)
			require.Contains(t, found[0], c.want)
		})
	}
}

func TestTables(t *testing.T) {
	a := archiveOf(t, "some-cpu.tsv", fixture, "some-cpu.curves.tsv", curvesFixture)
	text := a.tables()
	for _, want := range []string{
		"\n## Some CPU\n",
		"2026-11-30, `go run ./bench -save`: a virtual machine of 2 CPUs, linux/amd64, " +
			"kernel 6.18; Go 1.26.8, gcc 12.2.0, rustc none, valgrind 3.19.0; 9 pairs.\n" +
			"3 figures; goals met: 2, missed: 1.\n",
		"| fast, ns | 5 | 12,340 | 0.5 | 1 | met |\n",
		"| slow: ns | 30 | 10 | 3 | 1.5 | **missed** |\n",
		"- a third, ns: no cargo\n",
		"| figure | ours | without | ratio | goal | |\n|---|---:|---:|---:|---:|---|\n" +
			"| tracing compiled in but off: x, ns | 1 | 1 | 1 | 1.02 | met |\n",
		"The cost curves, 2026-11-23, `go run ./bench -plots`: a physical machine",
		"| ffiwaker | 200 | 210 | 220 | 230.5 |\n",
		"| ffiwaker: task | 100 | 90 | 80 | 70 |\n",
	} {
		require.Contains(t, text, want)
	}
	require.Equal(t, 1, strings.Count(text, "## Some CPU"), "one section per CPU")
}

func TestNoGoal(t *testing.T) {
	measured := strings.Replace(fixture, "\t0.5\t1\n", "\t2.5\t+Inf\n", 1)
	require.NotEqual(t, fixture, measured)
	a := archiveOf(t, "some-cpu.tsv", measured)
	require.Contains(t, a.tables(), "| fast, ns | 5 | 12,340 | 2.5 | none |  |\n")
	require.Contains(t, a.tables(), "3 figures; goals met: 1, missed: 1; without a goal: 1.\n")
	known := append([]figure{{name: "fast, ns", goal: noGoal}}, knownFigures[1:]...)
	require.Empty(t, a.problems(pageOf(a, missedTitle+"\n"+paragraph), known))
}

func TestParse(t *testing.T) {
	t.Run("returns_what_was_written", func(t *testing.T) {
		r, err := parseResults(fixture)
		require.NoError(t, err)
		require.Equal(t, fixture, r.String())
		c, err := parseCurves(curvesFixture)
		require.NoError(t, err)
		require.Equal(t, curvesFixture, c.String())
	})
	for name, c := range map[string]struct{ old, new, want string }{
		"refuses_a_missing_cell":       {"\t0.5\t1\n", "\t0.5\n", "line 15: 4 cells"},
		"refuses_a_cell_not_a_number":  {"\t0.5\t1\n", "\tx\t1\n", `line 15: strconv.ParseFloat`},
		"refuses_a_second_row":         {"slow: ns", "fast, ns", `a second row of "fast, ns"`},
		"refuses_a_missing_header":     {"# kernel: 6.18\n", "", `no line "# kernel: "`},
		"refuses_an_unknown_comment":   {"# kernel", "# colour: red\n# kernel", "edited by hand"},
		"refuses_digits_not_written":   {"\t0.5\t1\n", "\t0.50\t1\n", "edited by hand"},
		"refuses_an_edited_first_line": {"2 CPUs", "3 CPUs", "edited by hand"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, fixture, c.old)
			_, err := parseResults(strings.Replace(fixture, c.old, c.new, 1))
			require.ErrorContains(t, err, c.want)
		})
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"refuses_a_missing_size": {"time\tffiwaker\t10000\t210\n", "", "a value for 100000 tasks"},
		"refuses_a_short_curve":  {"time\tffiwaker\t1000000\t230.5\n", "", "3 values for 4 sizes"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, curvesFixture, c.old)
			_, err := parseCurves(strings.Replace(curvesFixture, c.old, c.new, 1))
			require.ErrorContains(t, err, c.want)
		})
	}
	t.Run("refuses_a_file_named_after_another_CPU", func(t *testing.T) {
		err := new(archive).add("other.tsv", fixture)
		require.ErrorContains(t, err, "the file of this CPU is some-cpu.tsv")
	})
	t.Run("refuses_a_file_that_is_no_table", func(t *testing.T) {
		err := new(archive).add("notes.md", "x")
		require.ErrorContains(t, err, "neither *.tsv nor *.curves.tsv")
	})
}

func TestFileName(t *testing.T) {
	for cpu, want := range map[string]string{
		"AMD EPYC":                       "amd-epyc.tsv",
		"Intel(R) Xeon(R) CPU @ 2.20GHz": "intel-xeon-cpu.tsv",
		"AMD Ryzen 9 7950X 16-Core":      "amd-ryzen-9-7950x-16-core.tsv",
	} {
		require.Equal(t, want, header{cpu: cpu}.fileName(figuresSuffix))
	}
}

func TestWrite(t *testing.T) {
	a := archiveOf(t, "some-cpu.tsv", fixture, "some-cpu.curves.tsv", curvesFixture)
	root := t.TempDir()
	dir := filepath.Join(root, "bench")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(root, "docs"), 0o755))
	page := filepath.Join(dir, "RESULTS.md")

	t.Run("replaces_what_is_between_the_marks", func(t *testing.T) {
		old := "above\n" + beginMark + "old\n" + endMark + "below\n"
		require.NoError(t, os.WriteFile(page, []byte(old), 0o644))
		written, err := a.write(dir)
		require.NoError(t, err)
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		require.Equal(t, "above\n"+beginMark+a.tables()+endMark+"below\n", string(text))
		require.Equal(t, string(text), written)
		require.FileExists(t, filepath.Join(root, "docs", "tasks-time.svg"))
	})
	t.Run("leaves_a_page_without_marks_alone", func(t *testing.T) {
		require.NoError(t, os.WriteFile(page, []byte("no marks\n"), 0o644))
		_, err := a.write(dir)
		require.ErrorContains(t, err, "it must have the lines")
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		require.Equal(t, "no marks\n", string(text))
	})
	t.Run("reads_what_was_saved", func(t *testing.T) {
		for _, f := range []resultsFile{a.results[0], a.curves[0]} {
			require.NoError(t, saveFile(dir, f))
		}
		again, err := readAll(dir)
		require.NoError(t, err)
		require.Equal(t, a, again)
	})
}

func TestDrawings(t *testing.T) {
	r := strings.NewReplacer("Some CPU", "Old CPU", "2026-11-23", "2025-01-01")
	older := r.Replace(curvesFixture)
	a := archiveOf(t, "some-cpu.curves.tsv", curvesFixture, "old-cpu.curves.tsv", older)
	require.Contains(t, a.drawings()["tasks-time.svg"], "2 CPUs, Some CPU, linux/amd64")
	require.Contains(t, a.drawings()["tasks-memory.svg"], ">70</text>")
}

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"refuses_to_save_a_part":        {[]string{"-save", "-quick"}, "keep a whole run"},
		"refuses_to_save_some":          {[]string{"-save", "-run", "BlockOn"}, "keep a whole run"},
		"refuses_an_argument":           {[]string{"BlockOn"}, "unknown argument BlockOn"},
		"refuses_no_pairs":              {[]string{"-pairs", "0"}, "-pairs: at least 1"},
		"refuses_an_invalid_expression": {[]string{"-run", "("}, "missing closing"},
		"refuses_an_unknown_flag":       {[]string{"-fast"}, "-fast"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			require.Equal(t, 2, run(c.args, &out, &errs))
			require.Contains(t, errs.String(), c.want)
			require.Empty(t, out.String())
		})
	}
}
