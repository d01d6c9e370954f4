//go:build cgo

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func Example() {
	main()
	// Output: Result: 42 <nil>
}

func TestReadme(t *testing.T) {
	t.Run("shows_the_main_function_of_this_program", func(t *testing.T) {
		program, err := os.ReadFile("main.go")
		require.NoError(t, err)
		readme, err := os.ReadFile("../../README.md")
		require.NoError(t, err)
		_, body, found := strings.Cut(string(program), "\nfunc main() {\n")
		require.True(t, found)
		require.Contains(t, string(readme), "```go\nfunc main() {\n"+body+"```\n")
	})
}
