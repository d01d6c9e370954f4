package repository_test

import (
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// otherCode returns the first lines of the blocks of code of docs/BINDING.md that are about
// redis, but are in none of the files of examples/redis.
func otherCode(t *testing.T, r tree) (other []string, blocks int) {
	t.Helper()
	page := r.read(t, "docs/BINDING.md")
	files := r.read(t, "examples/redis/redis.c") + r.read(t, "examples/redis/redis.go")
	code := regexp.MustCompile("(?s)```(?:c|go)\n(.*?)```")
	for _, block := range code.FindAllStringSubmatch(page, -1) {
		if !strings.Contains(block[1], "redis") {
			continue
		}
		blocks++
		if !strings.Contains(files, block[1]) {
			line, _, _ := strings.Cut(block[1], "\n")
			other = append(other, line)
		}
	}
	return other, blocks
}

func TestBinding(t *testing.T) {
	t.Run("shows_the_code_of_examples_redis", func(t *testing.T) {
		other, blocks := otherCode(t, repository(t))
		require.Empty(t, other)
		require.GreaterOrEqual(t, blocks, 2)
	})
	t.Run("finds_code_that_differs", func(t *testing.T) { // the rule itself
		page := "```c\nint redis(void);\n```\n```go\nfunc redis() {}\n```\n```c\nint other;\n```\n"
		files := fstest.MapFS{
			"docs/BINDING.md":         {Data: []byte(page)},
			"examples/redis/redis.c":  {Data: []byte("int redis(int n);\n")},
			"examples/redis/redis.go": {Data: []byte("// Redis.\nfunc redis() {}\n")},
		}
		other, blocks := otherCode(t, readTree(t, files))
		require.Equal(t, []string{"int redis(void);"}, other)
		require.Equal(t, 2, blocks)
	})
}
