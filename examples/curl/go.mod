module github.com/seed-8a1b3254/ffiwaker/examples/curl

go 1.26.0

require github.com/seed-8a1b3254/ffiwaker v0.0.0

replace github.com/seed-8a1b3254/ffiwaker => ../..
