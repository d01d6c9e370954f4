//go:build !race

package broken_test

const race = false
