// Package repository has the tests of the repository itself: pages, scripts, versions and modules.
//
// Each checks a rule that a reader or a maintainer relies on and that no compiler checks. What must
// hold of the library's packages is in safety_test.go in the root.
package repository
