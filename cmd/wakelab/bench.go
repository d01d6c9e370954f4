package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

func benchCommand(out *output, stderr io.Writer) *cobra.Command {
	var from, svg, only string
	var pairs int
	var quick bool
	c := &cobra.Command{
		Use:   "bench",
		Short: "the figures of make bench as bars, beside those of the peers",
		Long: `Measures what make bench measures, in this module's source, and draws it: for each
figure our cost divided by the peer's, and the goal. It takes a quarter of an hour, with --quick
four minutes. --from draws a table that make bench has printed or kept in bench/results, and
measures nothing.`,
		Example: `  wakelab bench --run BlockOn --pairs 3
  make bench > figures.tsv; wakelab bench --from figures.tsv --svg figures.svg`,
		RunE: func(*cobra.Command, []string) error {
			if pairs < 1 {
				return usage("--pairs %d: at least one", pairs)
			}
			var b *benchmarks
			var err error
			if from != "" {
				b, err = readBenchmarks(from)
			} else {
				b, err = measureBenchmarks(stderr, only, pairs, quick)
			}
			if err != nil {
				return err
			}
			if svg != "" {
				if err := aside(svg, b.drawSVG); err != nil {
					return err
				}
				fmt.Fprintf(stderr, "wakelab: %s: %d figures\n", svg, len(b.figures))
				return nil
			}
			b.draw(out, colourful(out))
			return nil
		},
	}
	c.Flags().StringVar(&from, "from", "", "draw the table in `FILE`, which make bench has printed")
	c.Flags().StringVar(&svg, "svg", "", "draw a picture into `FILE` instead")
	c.Flags().StringVar(&only, "run", "", "measure only the figures that match `REGEXP`")
	c.Flags().IntVar(&pairs, "pairs", 9, "interleaved pairs for each figure")
	c.Flags().BoolVar(&quick, "quick", false, "leave out figures that take long")
	return c
}

// benchmarks is a table that make bench has printed.
type benchmarks struct {
	head    string
	figures []benchFigure
	left    []string
}

type benchFigure struct {
	name                    string
	ours, peer, ratio, goal float64
}

func (f benchFigure) met() bool { return f.ratio <= f.goal }

// add adds one line of the table.
func (b *benchmarks) add(text string) error {
	if rest, ok := strings.CutPrefix(text, "# "); ok {
		switch {
		case b.head == "":
			b.head = rest
		case strings.HasPrefix(rest, "left out: "):
			b.left = append(b.left, rest)
		}
		return nil
	}
	cells := strings.Split(text, "\t")
	if len(cells) != 5 {
		return fmt.Errorf("not a line of make bench: %.60q", text)
	}
	f := benchFigure{name: cells[0]}
	for i, to := range []*float64{&f.ours, &f.peer, &f.ratio, &f.goal} {
		v, err := strconv.ParseFloat(cells[i+1], 64)
		if err != nil {
			return fmt.Errorf("not a line of make bench: %.60q", text)
		}
		if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
			return fmt.Errorf("a figure that cannot be drawn: %.60q", text)
		}
		*to = v
	}
	b.figures = append(b.figures, f)
	return nil
}

func readBenchmarks(name string) (*benchmarks, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	b := new(benchmarks)
	for l := range strings.Lines(string(text)) {
		if l = strings.TrimRight(l, "\r\n"); l != "" {
			if err := b.add(l); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if len(b.figures) == 0 {
		return nil, fmt.Errorf("%s: it has no figures", name)
	}
	return b, nil
}

func measureBenchmarks(stderr io.Writer, only string, pairs int, quick bool) (*benchmarks, error) {
	if _, err := regexp.Compile(only); err != nil {
		return nil, usage("--run %q: %v", only, err)
	}
	ctx, folder, done, err := scratch(2 * time.Hour)
	if err != nil {
		return nil, err
	}
	defer done()
	dir, err := moduleDir(ctx)
	if err != nil {
		return nil, err
	}
	program := filepath.Join(folder, "bench.exe")
	if _, err := outputOf(ctx, dir, "go", "build", "-o", program, "./bench"); err != nil {
		return nil, err
	}
	args := []string{"-pairs", strconv.Itoa(pairs), "-run", only}
	if quick {
		args = append(args, "-quick")
	}
	names, err := outputOf(ctx, dir, program, append(args, "-list")...)
	if err != nil {
		return nil, err
	}
	total := strings.Count(names, "\n")
	if total == 0 {
		return nil, usage("--run %q: no figure matches", only)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	// Interrupted, it ends its children and removes its folders.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var bar *progressbar.ProgressBar
	if terminal(stderr) {
		bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(stderr),
			progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(),
			progressbar.OptionSetDescription("measuring"), progressbar.OptionSetRenderBlankState(true))
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b := new(benchmarks)
	for in := bufio.NewScanner(lines); in.Scan(); {
		if err := b.add(in.Text()); err != nil {
			cmd.Cancel()
			cmd.Wait()
			return nil, err
		}
		if bar != nil && !strings.HasPrefix(in.Text(), "# ") {
			bar.Add(1)
		}
	}
	if bar != nil {
		bar.Finish()
	}
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		return nil, fmt.Errorf("bench: %w: %s", err, firstLine(errs.String()))
	}
	if len(b.figures) == 0 {
		return nil, errors.New("nothing was measured: " + strings.Join(b.left, "; "))
	}
	return b, nil
}

// barWidth is the width of the ratio scale. A figure's bar is as long as its ratio to the peer, and
// its goal is a mark.
const barWidth = 40

// scale returns the largest ratio that is drawn.
func (b *benchmarks) scale() float64 {
	most := 1.0
	for _, f := range b.figures {
		most = max(most, min(f.ratio, 3), min(f.goal, 3))
	}
	return most
}

func (b *benchmarks) draw(out io.Writer, colour bool) {
	line(out, "%s", b.head)
	scale := b.scale()
	line(out, "Our cost divided by the peer's; lower is better. "+
		"▌ is the goal; a full bar is %.3g.\n", scale)
	met := 0
	for _, f := range b.figures {
		bar := []rune(strings.Repeat(" ", barWidth+1))
		n := min(int(f.ratio/scale*barWidth+0.5), barWidth)
		for i := range n {
			bar[i] = '█'
		}
		if f.ratio > 0 && n == 0 {
			bar[0] = '▏'
		}
		bar[min(int(f.goal/scale*barWidth+0.5), barWidth)] = '▌'
		word, on, off := "met", "", ""
		if f.met() {
			met++
		} else {
			word = "MISSED"
		}
		if colour {
			on, off = "\x1b[32m", "\x1b[0m"
			if !f.met() {
				on = "\x1b[31m"
			}
		}
		for i, part := range wrap(f.name, 56) {
			if i == 0 {
				line(out, "%-56s %s%s%s %8.3g of %.3g %s",
					part, on, string(bar), off, f.ratio, f.goal, word)
			} else {
				line(out, "  %s", part)
			}
		}
	}
	line(out, "\n%d figures, %d goals met", len(b.figures), met)
	for _, l := range b.left {
		line(out, "%s", l)
	}
}

// wrap breaks a text at spaces.
func wrap(text string, width int) (lines []string) {
	for _, word := range strings.Fields(text) {
		n := len(lines)
		if n > 0 && utf8.RuneCountInString(lines[n-1]+" "+word) <= width {
			lines[n-1] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// drawSVG draws the same, for light and dark pages.
func (b *benchmarks) drawSVG(out io.Writer) error {
	w := &output{w: out}
	const row, left, width = 26, 560, 360
	scale := b.scale()
	tall := 70 + row*len(b.figures) + 24
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1080 %d"
 font-family="system-ui, sans-serif" font-size="13" role="img" aria-labelledby="t">
<title id="t">Our cost divided by the peer's, and the goal, for each of %d figures</title>
<style>
text{fill:#1d2330} .soft{fill:#5b6472} .met{fill:#2f6fb3} .missed{fill:#b3470c}
.goal{stroke:#1d2330} .grid{stroke:#dcd8cf}
@media(prefers-color-scheme:dark){
text{fill:#e6e9ee} .soft{fill:#9aa5b4} .met{fill:#6aa7e8} .missed{fill:#ff9d5c}
.goal{stroke:#e6e9ee} .grid{stroke:#323945}
}
</style>
<text x="12" y="24" font-size="16" font-weight="600">Our cost divided by the peer's: lower is
 better</text>
<text x="12" y="44" class="soft">%s. A bar is our cost, a vertical line the goal.</text>
`, tall, len(b.figures), html.EscapeString(b.head))
	x := func(v float64) float64 { return left + min(v/scale, 1)*width }
	for v := 0.0; v <= scale; v += 0.5 {
		fmt.Fprintf(w, `<line class="grid" x1="%.1f" x2="%.1f" y1="54" y2="%d"/>`,
			x(v), x(v), tall-22)
		fmt.Fprintf(w, `<text class="soft" x="%.1f" y="%d" text-anchor="middle" font-size="11">%g</text>`+
			"\n", x(v), tall-8, v)
	}
	for i, f := range b.figures {
		y := 60 + i*row
		class := "met"
		if !f.met() {
			class = "missed"
		}
		name := f.name
		if utf8.RuneCountInString(name) > 84 {
			name = string([]rune(name)[:83]) + "…"
		}
		fmt.Fprintf(w, `<g><title>%s: ours %.4g, the peer's %.4g, ratio %.3g, goal %.4g</title>`,
			html.EscapeString(f.name), f.ours, f.peer, f.ratio, f.goal)
		fmt.Fprintf(w, `<text x="12" y="%d" font-size="12">%s</text>`, y+13, html.EscapeString(name))
		fmt.Fprintf(w, `<rect class="%s" x="%d" y="%d" width="%.1f" height="16" rx="3"/>`,
			class, left, y, max(x(f.ratio)-left, 1))
		fmt.Fprintf(w, `<line class="goal" x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke-width="2"/>`,
			x(f.goal), x(f.goal), y-3, y+19)
		fmt.Fprintf(w, `<text x="%d" y="%d">%.3g of %.3g%s</text></g>`+"\n",
			left+width+14, y+13, f.ratio, f.goal, map[bool]string{false: " missed"}[f.met()])
	}
	fmt.Fprint(w, "</svg>\n")
	return w.err
}
