package main

import (
	"math"
	"slices"
)

// A figure is our cost and a peer's, measured in the same run. Lower is better.
type figure struct {
	name string  // unique; ends with the unit
	goal float64 // the ratio of our cost to the peer's that is not to be exceeded
	peer string  // what the peer is, and the file it is in

	// ours and other each take one sample. both takes one of each, in place of the two.
	ours, other func() float64
	both        func() (ours, peer float64)
	// rust is the peer's name in bench/rust, in place of other, and rustOr that of a second peer:
	// the faster of the two in each pair counts. rustOurs is a name too, in place of ours.
	// A sample is rustN operations. The figure is left out if there is no Rust.
	rust, rustOr, rustOurs string
	rustN                  int

	// examples are where both numbers come from, in place of the functions.
	examples fromExamples

	runs   int    // of the peer in a sample, whose median is the sample; 0 means 1
	growth bool   // the peer's sample is what costGrowth returns
	pairs  int    // the most pairs to take, for a figure that takes long; 0 means no limit
	noPeer bool   // the goal is a limit for our own number
	slow   bool   // -quick leaves the figure out
	needs  string // a program without which the figure is left out

	prepare func() error // builds what the figure needs; after an error the figure is left out
}

// A fromExamples is a figure whose numbers come from the programs examples/NAME/measure: both are
// sums over those of the examples that can be measured here.
type fromExamples struct {
	names       []string
	ours, other string // the lines NAME.ours and NAME.other of the output
}

// noGoal is the goal of a figure that is measured only.
var noGoal = math.Inf(1)

// medians are those of a figure's samples. The ratio is the median of the pairs' ratios.
type medians struct{ ours, peer, ratio float64 }

// measure warms up both sides, then takes pairs of samples. The two samples of a pair follow each
// other at once, so that a disturbance of the machine affects both.
func (f figure) measure(pairs int) medians {
	if f.noPeer {
		v := f.ours()
		return medians{v, 0, v}
	}
	if f.pairs == 0 && f.both == nil {
		f.ours()
		f.other()
	}
	var ours, peers, ratios []float64
	for i := range pairs {
		var a, b float64
		switch {
		case f.both != nil:
			a, b = f.both()
		case i%2 == 0:
			a = f.ours()
			b = f.other()
		default:
			b = f.other()
			a = f.ours()
		}
		ours, peers, ratios = append(ours, a), append(peers, b), append(ratios, a/b)
	}
	return medians{quantile(ours, 0.5), quantile(peers, 0.5), quantile(ratios, 0.5)}
}

// quantile uses the nearest rank.
func quantile(v []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// medianOf returns a function that calls f several times and returns the median.
func medianOf(runs int, f func() float64) func() float64 {
	return func() float64 {
		all := make([]float64, runs)
		for i := range all {
			all[i] = f()
		}
		return quantile(all, 0.5)
	}
}

// costGrowth is the cost per task among 1,000,000 at once, divided by that among 1,000.
func costGrowth(perTask func(n int) float64) float64 {
	few := medianOf(501, func() float64 { return perTask(1000) })
	return medianOf(3, func() float64 { return perTask(1_000_000) })() / few()
}
