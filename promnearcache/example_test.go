package promnearcache_test

import (
	"context"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/promnearcache"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

type User struct{ Name string }

func Example() {
	if err := measured(); err != nil {
		panic(err)
	}
	// Output:
	// nearcache_misses_total 1
}

func measured() error {
	server, _ := miniredis.Run() // yours is a real one
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()

	metrics, err := promnearcache.New("users", prometheus.DefaultRegisterer)
	if err != nil {
		return err
	}
	defer metrics.Close()
	users, err := nearcache.New(nearcache.Config[User]{Name: "users", Redis: rdb, Hooks: metrics.Hooks()})
	if err != nil {
		return err
	}
	defer users.Close()
	if err := metrics.Observe(users); err != nil {
		return err
	}

	_, _ = users.Get(context.Background(), "42")
	families, err := prometheus.DefaultGatherer.Gather() // a promhttp.Handler does it
	for _, family := range families {
		if family.GetName() == "nearcache_misses_total" {
			fmt.Println(family.GetName(), family.GetMetric()[0].GetCounter().GetValue())
		}
	}
	return err
}
