package blockon_test

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
)

func ExampleBlockOn() {
	fmt.Println("Result:", blockon.BlockOn(future.Ready(42)))
	// Output: Result: 42
}

func ExampleAwait() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := blockon.Await(ctx, future.Sleep(time.Hour))
	fmt.Println(err)
	// Output: context deadline exceeded
}
