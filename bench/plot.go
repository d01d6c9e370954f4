package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// plotted are the plots of docs/.
var plotted = []struct{ name, file, title, unit string }{
	{"time", "tasks-time.svg", "Time per task: spawned, asleep, woken, completed", "ns"},
	{"memory", "tasks-memory.svg", "Resident memory per sleeping task", "bytes"},
}

// drawings are the files of docs/, drawn from the newest curves.
func (a *archive) drawings() map[string]string {
	files := map[string]string{}
	if len(a.curves) == 0 {
		return files
	}
	newest := slices.MaxFunc(a.curves, func(x, y *curves) int {
		return cmp.Compare(x.date, y.date)
	})
	machine := fmt.Sprintf("%s CPUs, %s, %s, %s, %s",
		newest.cpus, newest.cpu, newest.system, newest.goVersion, newest.date)
	for _, p := range plotted {
		files[p.file] = draw(p.title, p.unit, newest.plot(p.name), machine)
	}
	return files
}

// colour of a curve. The same program has the same colour in each plot.
func (c curve) colour() string {
	switch {
	case strings.HasPrefix(c.name, "ffiwaker"):
		return "#0b6e4f"
	case c.name == "tokio":
		return "#b5532a"
	}
	return "#3a5a9b"
}

// draw is a plot as SVG. Both axes are logarithmic, and each point is labelled with its value.
func draw(title, unit string, curves []curve, machine string) string {
	const (
		width, height            = 760.0, 400.0
		left, right, top, bottom = 90.0, 60.0, 50.0, 330.0
	)
	low, high := math.Inf(1), math.Inf(-1)
	for _, c := range curves {
		low, high = min(low, slices.Min(c.values)), max(high, slices.Max(c.values))
	}
	low, high = math.Floor(2*math.Log10(low))/2, math.Ceil(2*math.Log10(high))/2
	x := func(i int) float64 {
		return left + (width-left-right)*float64(i)/float64(len(sizes)-1)
	}
	y := func(v float64) float64 { return bottom - (bottom-top)*(math.Log10(v)-low)/(high-low) }

	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f"`, width, height)
	add(" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n")
	add("<title>%s</title>\n", title)
	add("<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n")
	add(`<text x="%.0f" y="24" font-size="15" font-weight="bold">%s</text>`+"\n", left, title)
	for e := math.Ceil(low); e <= high; e++ {
		at := y(math.Pow(10, e))
		add(`<path d="M%.0f %.1fH%.0f" stroke="#ddd"/>`, left, at, width-right)
		add(`<text x="%.0f" y="%.1f" text-anchor="end">%s %s</text>`+"\n",
			left-8, at+4, thousands(math.Pow(10, e)), unit)
	}
	for i, n := range sizes {
		add(`<path d="M%.1f %.0fV%.0f" stroke="#eee"/>`, x(i), top, bottom)
		add(`<text x="%.1f" y="%.0f" text-anchor="middle">%s tasks</text>`+"\n",
			x(i), bottom+18, thousands(float64(n)))
	}
	at := left // of the next curve's name
	for _, c := range curves {
		add(`<path d="M%.0f %.0fh18" stroke="%s" stroke-width="3"/>`, at, bottom+36, c.colour())
		add(`<text x="%.0f" y="%.0f">%s</text>`+"\n", at+24, bottom+40, html.EscapeString(c.name))
		at += 50 + 6.5*float64(len(c.name))
	}
	for _, c := range curves {
		points := make([]string, len(c.values))
		for i, v := range c.values {
			points[i] = fmt.Sprintf("%.1f,%.1f", x(i), y(v))
		}
		add(`<polyline points="%s" fill="none"`, strings.Join(points, " "))
		add(` stroke="%s" stroke-width="2"/>`+"\n", c.colour())
		for i, v := range c.values {
			dx, dy, anchor := 0.0, -7.0, "middle"
			for _, other := range curves {
				// If two points are close, the label of the lower one goes to its right.
				if o := other.values[i]; o > v && y(v)-y(o) < 20 {
					dx, dy, anchor = 7, 11, "start"
				}
			}
			add(`<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`, x(i), y(v), c.colour())
			add(`<text x="%.1f" y="%.1f" fill="%s" text-anchor="%s" font-size="11">%s</text>`+"\n",
				x(i)+dx, y(v)+dy, c.colour(), anchor, thousands(math.Round(v)))
		}
	}
	add(`<text x="%.0f" y="%.0f" font-size="10" fill="#555">`, left, height-8)
	add("make plots: %s. Medians; both axes are logarithmic.</text>\n</svg>\n",
		html.EscapeString(machine))
	return b.String()
}

// thousands writes a whole number with commas.
func thousands(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
