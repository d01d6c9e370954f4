package trace

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// debugKeys are the keys of FFIWAKERDEBUG, a list "key=value,key=value".
var debugKeys = []string{"audit", "tasks", "trace"}

var debugWords = func() map[string]string {
	list := debugText()
	if list != "" && secure() {
		// As the dynamic linker does: the caller may not have the rights that this program has.
		fmt.Fprintln(os.Stderr, "ffiwaker: FFIWAKERDEBUG: not obeyed: "+
			"this program has more rights than the user who started it")
		list = ""
	}
	words, unknown := debugParse(list)
	for _, key := range unknown {
		fmt.Fprintf(os.Stderr, "ffiwaker: FFIWAKERDEBUG: no key %q (use %s)\n",
			key, strings.Join(debugKeys, ", "))
	}
	return words
}()

// Debug returns the value of a key of FFIWAKERDEBUG; "" if it has none.
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

var auditAll = func() bool {
	all := capi.HasCgo && (Debug("audit") == "1" || On) // a trace shows what the auditor sees
	if all {
		capi.AuditCallers()
	}
	return all
}()

// AuditAll reports whether FFIWAKERDEBUG asks that every waker and future that crosses be audited:
// audit=1, or trace=FILE.
func AuditAll() bool { return auditAll }
