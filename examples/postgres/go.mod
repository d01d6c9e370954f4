module github.com/seed-8a1b3254/ffiwaker/examples/postgres

go 1.26.0

require github.com/seed-8a1b3254/ffiwaker v0.0.0

require golang.org/x/sys v0.50.0 // indirect

replace github.com/seed-8a1b3254/ffiwaker => ../..
