package otelnearcache_test

import (
	"context"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/otelnearcache"
	"github.com/redis/go-redis/v9"
)

type User struct{ Name string }

func Example() {
	if err := observed(); err != nil {
		panic(err)
	}
	// Output:
	// get by loader: ok
	// Ada
}

func observed() error {
	server, _ := miniredis.Run() // yours is a real one
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	load := func(context.Context, string) (User, error) { return User{"Ada"}, nil }
	hooksOfYourOwn := nearcache.Hooks{End: func(_ context.Context, op *nearcache.Operation) {
		if op.Kind == "get" {
			fmt.Printf("get by %v: %s\n", op.Source, op.Result)
		}
	}}

	telemetry, err := otelnearcache.New("users", otelnearcache.Config{}) // the global providers
	if err != nil {
		return err
	}
	defer telemetry.Close()
	users, err := nearcache.New(nearcache.Config[User]{
		Name: "users", Redis: rdb, Load: load,
		Hooks: nearcache.Tee(telemetry.Hooks(), hooksOfYourOwn),
	})
	if err != nil {
		return err
	}
	defer users.Close()
	if err := telemetry.Observe(users); err != nil {
		return err
	}

	u, err := users.Get(context.Background(), "42")
	fmt.Println(u.Name)
	return err
}
