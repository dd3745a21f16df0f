package s2_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/alicebob/miniredis/v2"
	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/codec/s2"
	"github.com/redis/go-redis/v9"
)

func Example() {
	server, _ := miniredis.Run() // yours is a real one
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()

	pages, err := nearcache.New(nearcache.Config[string]{
		Name:       "pages",
		Redis:      rdb,
		Compressor: s2.Compressor{},
	})
	if err != nil {
		panic(err)
	}
	defer pages.Close()

	_ = pages.Set(context.Background(), "/", strings.Repeat("<p>near cache</p>", 1000))
	stored, _ := server.Get("{pages}:v:/")
	fmt.Println(len(stored) < 1000)
	// Output: true
}
