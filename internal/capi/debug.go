package capi

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// debugKeys are those of FFIWAKERDEBUG, which is a list "key=value,key=value".
var debugKeys = []string{"audit", "tasks", "trace"}

var debugWords = func() map[string]string {
	list := debugText()
	if list != "" && secure() {
		// As of the loader's variables: who sets them may not have the rights that this program has.
		fmt.Fprintln(os.Stderr, "ffiwaker: FFIWAKERDEBUG: not obeyed: this program may do more than who has started it")
		list = ""
	}
	words, unknown := debugParse(list)
	for _, key := range unknown {
		fmt.Fprintf(os.Stderr, "ffiwaker: FFIWAKERDEBUG: no key %q; there are %s\n", key, strings.Join(debugKeys, ", "))
	}
	return words
}()

// Debug is the value of a key of FFIWAKERDEBUG; empty where it is not there.
func Debug(key string) string { return debugWords[key] }

func debugParse(list string) (words map[string]string, unknown []string) {
	words = make(map[string]string)
	for word := range strings.SplitSeq(list, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(word), "=")
		switch {
		case key == "":
		case slices.Contains(debugKeys, key):
			words[key] = value
		default:
			unknown = append(unknown, key)
		}
	}
	return words, unknown
}
