package main

import (
	"slices"
)

// A figure is ours beside a peer, both measured here and now. Lower is better.
type figure struct {
	name string // with the unit
	goal float64
	peer string // what the peer is, and where it stands
	// measure takes one sample of each. Those that need Rust are left out where there is none.
	ours, other func() float64
	both        func() (ours, peer float64) // in place of the two
	rust        string                      // the peer's name in bench/rust, in place of other; takes rustN operations
	rustOurs    string                      // the same in place of ours
	rustOr      string                      // another peer: the faster of the two in each pair counts
	rustN       int
	runs        int  // of the peer in a sample, whose median counts; 0: 1
	rise        bool // of the peer's cost per operation, from 1,000 to 1,000,000
	pairs       int  // at most so many, for one that takes long; 0: as many as asked for
	// alone: no peer, but a number that must not be above goal.
	alone bool
	slow  bool   // left out of -quick
	needs string // a program without which it is left out
}

// result is a figure's medians; ratio is the median of the pairs' ratios.
type result struct{ ours, peer, ratio float64 }

// run warms both up, then takes pairs, one right after the other, so that what disturbs the machine disturbs both.
func (f figure) run(pairs int) result {
	if f.alone {
		v := f.ours()
		return result{v, 0, v}
	}
	if f.pairs == 0 && f.both == nil {
		f.ours()
		f.other()
	}
	var ours, peers, ratios []float64
	for i := range pairs {
		var a, b float64
		if f.both != nil {
			a, b = f.both()
		} else if i%2 == 0 {
			a = f.ours()
			b = f.other()
		} else {
			b = f.other()
			a = f.ours()
		}
		ours, peers, ratios = append(ours, a), append(peers, b), append(ratios, a/b)
	}
	return result{quantile(ours, 0.5), quantile(peers, 0.5), quantile(ratios, 0.5)}
}

// quantile is by nearest rank.
func quantile(v []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// several is the median of some runs of f.
func several(runs int, f func() float64) func() float64 {
	return func() float64 {
		all := make([]float64, runs)
		for i := range all {
			all[i] = f()
		}
		return quantile(all, 0.5)
	}
}

// rise is the cost per task of a million at once over that of a thousand.
func rise(perTask func(n int) float64) float64 {
	few := several(501, func() float64 { return perTask(1000) })
	return several(3, func() float64 { return perTask(1_000_000) })() / few()
}
