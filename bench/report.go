package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	beginMark   = "<!-- bench: begin -->\n"
	endMark     = "<!-- bench: end -->\n"
	missedTitle = "## Missed goals\n"

	tracingPrefix = "tracing compiled in but off: "
)

// write renders the tables of RESULTS.md and draws the plots of docs/. It returns the new page.
func (a *archive) write(dir string) (page string, err error) {
	name := filepath.Join(dir, "RESULTS.md")
	old, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	before, _, after, err := splitPage(string(old))
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	page = before + beginMark + a.tables() + endMark + after
	if err := os.WriteFile(name, []byte(page), 0o644); err != nil {
		return "", err
	}
	for name, svg := range a.drawings() {
		name = filepath.Join(dir, "..", "docs", name)
		if err := os.WriteFile(name, []byte(svg), 0o644); err != nil {
			return "", err
		}
	}
	return page, nil
}

// splitPage returns the text above the first mark, between the marks, and below the second.
func splitPage(page string) (before, tables, after string, err error) {
	before, rest, begun := strings.Cut(page, beginMark)
	tables, after, ended := strings.Cut(rest, endMark)
	if !begun || !ended || strings.Contains(after, beginMark) || strings.Contains(after, endMark) {
		return "", "", "", errors.New("it must have the lines " + strings.TrimSpace(beginMark) +
			" and " + strings.TrimSpace(endMark) + ", in this order and once each")
	}
	return before, tables, after, nil
}

// tables renders what stands between the marks: a section for each CPU.
func (a *archive) tables() string {
	var cpus []string
	for _, r := range a.results {
		cpus = append(cpus, r.cpu)
	}
	for _, c := range a.curves {
		cpus = append(cpus, c.cpu)
	}
	slices.Sort(cpus)
	var b strings.Builder
	b.WriteString("<!-- Do not edit: go run ./bench -write renders this from bench/results. -->\n")
	for _, cpu := range slices.Compact(cpus) {
		fmt.Fprintf(&b, "\n## %s\n", cpu)
		for _, r := range a.results {
			if r.cpu == cpu {
				b.WriteString(r.render())
			}
		}
		for _, c := range a.curves {
			if c.cpu == cpu {
				b.WriteString(c.render())
			}
		}
	}
	b.WriteString("\n")
	return b.String()
}

// render describes the machine in one line.
func (h header) render() string {
	s := fmt.Sprintf("%s, `%s`: a %s machine of %s CPUs, %s, kernel %s; ",
		h.date, h.command, h.machine, h.cpus, h.system, h.kernel)
	s += fmt.Sprintf("Go %s, %s, rustc %s",
		strings.TrimPrefix(h.goVersion, "go"), h.compiler, h.rustc)
	if h.valgrind != "" {
		s += ", valgrind " + h.valgrind
	}
	if h.pairs != "" {
		s += "; " + h.pairs + " pairs"
	}
	return s + ".\n"
}

func (r *results) render() string {
	var b strings.Builder
	missed, without := 0, 0
	for _, row := range r.rows {
		switch {
		case row.goal == noGoal:
			without++
		case row.missed():
			missed++
		}
	}
	fmt.Fprintf(&b, "\n%s%d figures; goals met: %d, missed: %d",
		r.header.render(), len(r.rows), len(r.rows)-missed-without, missed)
	if without > 0 {
		fmt.Fprintf(&b, "; without a goal: %d", without)
	}
	b.WriteString(".\n")
	for i, l := range r.leftOut {
		if i == 0 {
			b.WriteString("\nNot measured in this run:\n\n")
		}
		fmt.Fprintf(&b, "- %s\n", l.text())
	}
	table := func(peer string, wanted func(row) bool) {
		fmt.Fprintf(&b, "\n| figure | ours | %s | ratio | goal | |\n", peer)
		b.WriteString("|---|---:|---:|---:|---:|---|\n")
		for _, row := range r.rows {
			if !wanted(row) {
				continue
			}
			verdict, goal := "met", decimal(row.goal)
			if row.missed() {
				verdict = "**missed**"
			}
			if row.goal == noGoal {
				verdict, goal = "", "none"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", row.name, decimal(row.ours),
				decimal(row.peer), decimal(row.ratio), goal, verdict)
		}
	}
	tracing := func(row row) bool { return strings.HasPrefix(row.name, tracingPrefix) }
	table("peer", func(row row) bool { return !tracing(row) })
	if slices.ContainsFunc(r.rows, tracing) {
		b.WriteString("\nThe peer of these is a build without tracing (tag `ffiwakernotrace`):\n")
		table("without", tracing)
	}
	return b.String()
}

func (c *curves) render() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nThe cost curves, %s", c.header.render())
	for _, p := range plotted {
		lines := c.plot(p.name)
		fmt.Fprintf(&b, "\n| [%s](../docs/%s), %s |", p.title, p.file, p.unit)
		for _, n := range sizes {
			fmt.Fprintf(&b, " %s tasks |", thousands(float64(n)))
		}
		b.WriteString("\n|---|" + strings.Repeat("---:|", len(sizes)) + "\n")
		for _, line := range lines {
			fmt.Fprintf(&b, "| %s |", line.name)
			for _, v := range line.values {
				fmt.Fprintf(&b, " %s |", decimal(v))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// decimal writes a number without an exponent.
func decimal(v float64) string {
	if v >= 1000 {
		return thousands(v)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// problems are what CI refuses. known are the bench's figures; nil if this build has none.
func (a *archive) problems(page string, known []figure) (found []string) {
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	_, tables, after, err := splitPage(page)
	if err != nil {
		add("RESULTS.md: %v", err)
		return found
	}
	if tables != a.tables() {
		add("RESULTS.md: the tables are not those of bench/results (go run ./bench -write)")
	}

	missed := map[string]bool{}
	for _, r := range a.results {
		for _, row := range r.rows {
			if row.missed() {
				missed[row.name] = true
			}
			if known == nil {
				continue
			}
			i := slices.IndexFunc(known, func(f figure) bool { return f.name == row.name })
			if i < 0 {
				add("results/%s: the bench has no figure %q (rename it here too, or measure again)",
					r.file(), row.name)
			} else if goal := known[i].goal; goal != row.goal {
				add("results/%s: %q: the goal is %g here and %g in the bench (measure again)",
					r.file(), row.name, row.goal, goal)
			}
		}
	}

	_, section, _ := strings.Cut(after, missedTitle)
	section, _, _ = strings.Cut(section, "\n## ")
	described := map[string]bool{}
	for _, paragraph := range strings.Split(section, "\n\n") {
		paragraph = strings.TrimSpace(paragraph)
		name, text := named(paragraph)
		switch {
		case name == "" && (paragraph == "" || len(described) == 0): // an introduction
		case name == "":
			add("RESULTS.md: a paragraph does not start with a bold name: %.60q", paragraph)
		case described[name]:
			add("RESULTS.md: %q has two paragraphs", name)
		case !missed[name]:
			add("RESULTS.md: %q has a paragraph, but no run in bench/results misses its goal", name)
		case text == "":
			add("RESULTS.md: the paragraph of %q is empty", name)
		}
		if name != "" {
			described[name] = true
		}
	}
	for _, r := range a.results {
		for _, row := range r.rows {
			if missed[row.name] && !described[row.name] {
				add("RESULTS.md: %q misses its goal and has no paragraph below %q",
					row.name, strings.TrimSpace(missedTitle))
				described[row.name] = true
			}
		}
	}
	return found
}

var boldName = regexp.MustCompile(`^\*\*(.+?)\*\*:?\s*`)

// named splits a paragraph into the bold name that it starts with and the rest.
func named(paragraph string) (name, rest string) {
	m := boldName.FindStringSubmatch(paragraph)
	if m == nil {
		return "", paragraph
	}
	return m[1], paragraph[len(m[0]):]
}
