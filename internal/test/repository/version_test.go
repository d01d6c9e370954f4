package repository_test

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// The newest heading of CHANGELOG.md has the version. Until a release it says so.
func TestVersion(t *testing.T) {
	r := repository(t)
	headings := regexp.MustCompile(`(?m)^## (.*)$`).
		FindAllStringSubmatch(r.read(t, "CHANGELOG.md"), -1)
	require.NotEmpty(t, headings)
	heading := regexp.MustCompile(`^(\d+\.\d+\.\d+) \((unreleased|\d{4}-\d{2}-\d{2})\)$`)
	newest := heading.FindStringSubmatch(headings[0][1])
	require.NotNil(t, newest, "CHANGELOG.md's newest section: %q", headings[0][1])
	version := newest[1]

	t.Run("is_unreleased_in_one_section_only", func(t *testing.T) {
		for _, h := range headings[1:] {
			m := heading.FindStringSubmatch(h[1])
			require.NotNil(t, m, h[1])
			require.NotEqual(t, "unreleased", m[2])
		}
	})
	t.Run("is_the_same_in_each_file_that_has_it", func(t *testing.T) {
		for file, find := range map[string]string{
			"hosts/Makefile":                             `(?m)^VERSION *:= *(.*)$`,
			"interop/rust/Cargo.toml":                    `(?m)^version = "(.*)"$`,
			"interop/rust/Cargo.lock":                    `(?m)^name = "ffiwaker"\nversion = "(.*)"$`,
			"hosts/ffiwaker.pc.in":                       `(?m)^Version: (.*)$`,
			"hosts/cmake/ffiwakerConfigVersion.cmake.in": `(?m)PACKAGE_VERSION "(.*)"`,
		} {
			found := regexp.MustCompile(find).FindStringSubmatch(r.read(t, file))
			require.NotNil(t, found, file)
			want := version
			if regexp.MustCompile(`\.in$`).MatchString(file) {
				want = "@VERSION@" // which hosts/Makefile replaces
			}
			require.Equal(t, want, found[1], file)
		}
	})
}
