module github.com/seed-8a1b3254/ffiwaker

go 1.26
