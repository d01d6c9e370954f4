//! C's half of the tests of panics, streams and threads: `fixture.c`, and `rawwaker.c`. The tests
//! declare its functions with the types of the crate, on which this package cannot depend.
