package wakertest

import (
	"bytes"
	"runtime/pprof"
	"strconv"
	"strings"
)

// asleepForever returns the stacks of the goroutines that sleep in package blockon and that
// nothing can wake, and how many have each. It is empty if the runtime has no goroutineleak
// profile: Go 1.27 is the first that has it.
//
// The profile collects garbage, and takes for leaked what no runnable goroutine and no global
// variable reaches. It never reports a goroutine that may be woken: the registry keeps the core of
// each sleeper whose waker C has, and a timer that runs keeps its own.
func asleepForever() map[string]int {
	stacks := map[string]int{}
	profile := pprof.Lookup("goroutineleak")
	if profile == nil {
		return stacks
	}
	var text bytes.Buffer
	if profile.WriteTo(&text, 1) != nil {
		return stacks
	}
	_, entries, _ := strings.Cut(text.String(), "\n") // the first line is the profile's own
	for entry := range strings.SplitSeq(entries, "\n\n") {
		// A line with the count and the addresses, then a line for each call.
		head, stack, _ := strings.Cut(entry, "\n")
		count, _, _ := strings.Cut(head, " ")
		n, err := strconv.Atoi(count)
		if err == nil && strings.Contains(stack, "/internal/wake.(*Parker).Park") &&
			strings.Contains(stack, "/blockon.") {
			stacks[stack] += n
		}
	}
	return stacks
}
