// Command build makes the image that tests use where nothing can be pulled, of the
// redis-server in the PATH:  go run -C testcontainers ./image/build
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/nearcache/nearcache/internal/redistest"
	"github.com/nearcache/nearcache/testcontainers/image"
)

func main() {
	if err := image.Build(context.Background(), redistest.LocalImage, "redis-server"); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
	fmt.Println(redistest.LocalImage)
}
