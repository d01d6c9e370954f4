package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

var errNotWritten = errors.New("edited by hand: the bench writes it otherwise (make bench)")

// The files of bench/results are what -save and -plots write: for each CPU model its newest run.
const (
	figuresSuffix = ".tsv"
	curvesSuffix  = ".curves.tsv"

	columns      = "# name\tours\tpeer\tratio\tgoal\n"
	curveColumns = "# plot\tcurve\ttasks\tvalue\n"
	leftOutMark  = "# left out: "
)

// A header is the comment lines above the figures: the command, the day and the machine. The curves
// have no pairs and no valgrind.
type header struct {
	command, date, cpu, cpus, machine, system, kernel string
	goVersion, compiler, rustc, valgrind, pairs       string
}

type headerField struct {
	key   string
	value *string
}

func (h *header) fields() []headerField {
	return []headerField{
		{"command", &h.command}, {"date", &h.date}, {"cpu", &h.cpu}, {"cpus", &h.cpus},
		{"machine", &h.machine}, {"system", &h.system}, {"kernel", &h.kernel}, {"go", &h.goVersion},
		{"cc", &h.compiler}, {"rustc", &h.rustc}, {"valgrind", &h.valgrind}, {"pairs", &h.pairs},
	}
}

// summary is the first line.
func (h header) summary() string {
	s := fmt.Sprintf("# %s %s, %s CPUs, %s", h.goVersion, h.system, h.cpus, h.date)
	if h.pairs != "" {
		s += ", " + h.pairs + " pairs"
	}
	return s + "\n"
}

func (h header) String() string {
	s := h.summary()
	for _, f := range h.fields() {
		if *f.value != "" {
			s += fmt.Sprintf("# %s: %s\n", f.key, *f.value)
		}
	}
	return s
}

// fileName is the CPU model in lower case, with hyphens: "Intel(R) Xeon(R) CPU @ 2.20GHz" gives
// "intel-xeon-cpu".
func (h header) fileName(suffix string) string {
	model, _, _ := strings.Cut(h.cpu, "@")
	model = strings.NewReplacer("(r)", "", "(tm)", "").Replace(strings.ToLower(model))
	words := strings.FieldsFunc(model, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return strings.Join(words, "-") + suffix
}

// A row is one figure of a run.
type row struct {
	name                    string
	ours, peer, ratio, goal float64
}

func (r row) String() string {
	return fmt.Sprintf("%s\t%.4g\t%.4g\t%.3g\t%.4g\n", r.name, r.ours, r.peer, r.ratio, r.goal)
}

func (r row) missed() bool { return r.ratio > r.goal }

// results are the figures of one run.
type results struct {
	header
	rows    []row
	leftOut []leftOut
}

// A leftOut is a figure that a run did not measure. One that was read from a file has no reason:
// its name holds the whole text, since both name and reason may contain a colon.
type leftOut struct{ name, reason string }

func (l leftOut) String() string { return leftOutMark + l.text() + "\n" }

func (l leftOut) text() string {
	if l.reason == "" {
		return l.name
	}
	return l.name + ": " + l.reason
}

func (r *results) String() string {
	var b strings.Builder
	b.WriteString(r.header.String())
	b.WriteString(columns)
	for _, row := range r.rows {
		b.WriteString(row.String())
	}
	for _, l := range r.leftOut {
		b.WriteString(l.String())
	}
	return b.String()
}

func (r *results) file() string { return r.fileName(figuresSuffix) }

// A curve is one line of a plot: a cost per task for each of sizes.
type curve struct {
	plot, name string
	values     []float64
}

// sizes are the numbers of tasks at once.
var sizes = []int{1000, 10_000, 100_000, 1_000_000}

// curves are the cost curves of one run.
type curves struct {
	header
	curves []curve
}

func (c *curves) String() string {
	var b strings.Builder
	b.WriteString(c.header.String())
	b.WriteString(curveColumns)
	for _, line := range c.curves {
		for i, v := range line.values {
			fmt.Fprintf(&b, "%s\t%s\t%d\t%.4g\n", line.plot, line.name, sizes[i], v)
		}
	}
	return b.String()
}

func (c *curves) file() string { return c.fileName(curvesSuffix) }

// plot returns the curves of one plot.
func (c *curves) plot(name string) (lines []curve) {
	for _, line := range c.curves {
		if line.plot == name {
			lines = append(lines, line)
		}
	}
	return lines
}

// parse reads the comment lines of a file and passes every other line to add, split at tabs.
func (h *header) parse(text string, leftOut func(string), add func(cells []string) error) error {
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if rest, ok := strings.CutPrefix(line, leftOutMark); ok && leftOut != nil {
			leftOut(rest)
		} else if rest, ok := strings.CutPrefix(line, "# "); ok {
			key, value, _ := strings.Cut(rest, ": ")
			for _, f := range h.fields() {
				if f.key == key {
					*f.value = value
				}
			}
		} else if err := add(strings.Split(line, "\t")); err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	for _, f := range h.fields() {
		if *f.value == "" && f.key != "pairs" && f.key != "valgrind" {
			return fmt.Errorf("no line \"# %s: \"", f.key)
		}
	}
	return nil
}

// parseResults reads what (*results).String has written, and refuses anything else.
func parseResults(text string) (*results, error) {
	r := new(results)
	err := r.parse(text, func(text string) {
		r.leftOut = append(r.leftOut, leftOut{name: text})
	}, func(cells []string) error {
		if len(cells) != 5 {
			return fmt.Errorf("%d cells, not name, ours, peer, ratio, goal", len(cells))
		}
		if slices.ContainsFunc(r.rows, func(other row) bool { return other.name == cells[0] }) {
			return fmt.Errorf("a second row of %q", cells[0])
		}
		row := row{name: cells[0]}
		for i, to := range []*float64{&row.ours, &row.peer, &row.ratio, &row.goal} {
			var err error
			if *to, err = strconv.ParseFloat(cells[i+1], 64); err != nil {
				return err
			}
		}
		r.rows = append(r.rows, row)
		return nil
	})
	if err == nil && r.String() != text {
		err = errNotWritten
	}
	return r, err
}

// parseCurves does the same for what (*curves).String has written.
func parseCurves(text string) (*curves, error) {
	c := new(curves)
	err := c.parse(text, nil, func(cells []string) error {
		if len(cells) != 4 {
			return fmt.Errorf("%d cells, not plot, curve, tasks, value", len(cells))
		}
		v, err := strconv.ParseFloat(cells[3], 64)
		if err != nil {
			return err
		}
		n := len(c.curves)
		if n == 0 || c.curves[n-1].plot != cells[0] || c.curves[n-1].name != cells[1] {
			c.curves = append(c.curves, curve{plot: cells[0], name: cells[1]})
		}
		last := &c.curves[len(c.curves)-1]
		if i := len(last.values); i == len(sizes) || strconv.Itoa(sizes[i]) != cells[2] {
			return fmt.Errorf("a value for %s tasks: the sizes are %v", cells[2], sizes)
		}
		last.values = append(last.values, v)
		return nil
	})
	for _, line := range c.curves {
		if err == nil && len(line.values) != len(sizes) {
			err = fmt.Errorf("%s: %d values for %d sizes", line.name, len(line.values), len(sizes))
		}
	}
	if err == nil && c.String() != text {
		err = errNotWritten
	}
	return c, err
}

// benchDir is the folder of this package, seen from the module's root or from the folder itself.
func benchDir() (string, error) {
	for _, dir := range []string{"bench", "."} {
		if _, err := os.Stat(filepath.Join(dir, "RESULTS.md")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no bench/RESULTS.md here (run it in the module's root)")
}

// A resultsFile is one file of bench/results.
type resultsFile interface {
	file() string
	String() string
}

func saveFile(dir string, f resultsFile) error {
	dir = filepath.Join(dir, "results")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, f.file()), []byte(f.String()), 0o644)
}

// An archive is all of bench/results.
type archive struct {
	results []*results
	curves  []*curves
}

func readAll(dir string) (*archive, error) {
	names, err := filepath.Glob(filepath.Join(dir, "results", "*"))
	if err != nil {
		return nil, err
	}
	a := new(archive)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := a.add(filepath.Base(name), string(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return a, nil
}

// add takes one file.
func (a *archive) add(name, text string) error {
	var f resultsFile
	switch {
	case strings.HasSuffix(name, curvesSuffix):
		c, err := parseCurves(text)
		if err != nil {
			return err
		}
		a.curves = append(a.curves, c)
		f = c
	case strings.HasSuffix(name, figuresSuffix):
		r, err := parseResults(text)
		if err != nil {
			return err
		}
		a.results = append(a.results, r)
		f = r
	default:
		return fmt.Errorf("neither *%s nor *%s", figuresSuffix, curvesSuffix)
	}
	if name != f.file() {
		return fmt.Errorf("the file of this CPU is %s", f.file())
	}
	return nil
}
