package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nearcache/nearcache"
	"github.com/redis/go-redis/v9"
)

type User struct{ ID, Name string }

// database stands for yours.
type database map[string]string

func (db database) User(_ context.Context, id string) (User, error) {
	name, ok := db[id]
	if !ok {
		return User{}, nearcache.ErrNotFound
	}
	return User{id, name}, nil
}

func Example() {
	server, _ := miniredis.Run() // yours is a real one
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	db := database{"42": "Ada"}
	ctx := context.Background()

	users, err := nearcache.New(nearcache.Config[User]{
		Name:  "users",
		Redis: rdb,
		TTL:   nearcache.TTL{L1: time.Minute, L2: time.Hour},
		Load:  func(ctx context.Context, id string) (User, error) { return db.User(ctx, id) },
	})
	if err != nil {
		panic(err)
	}
	defer users.Close()

	u, err := users.Get(ctx, "42") // L1, then Redis, then Load, once for all who ask
	fmt.Println(u.Name, err)

	db["42"] = "Ada Lovelace"         // change the source first,
	err = users.Invalidate(ctx, "42") // then every instance
	fmt.Println(err)

	u, err = users.Get(ctx, "42")
	fmt.Println(u.Name, err)
	// Output:
	// Ada <nil>
	// <nil>
	// Ada Lovelace <nil>
}

func ExampleConfig_l1Only() {
	squares, _ := nearcache.New(nearcache.Config[int]{
		Load: func(_ context.Context, key string) (int, error) {
			var n int
			if _, err := fmt.Sscan(key, &n); err != nil {
				return 0, nearcache.ErrNotFound
			}
			return n * n, nil
		},
	})
	defer squares.Close()
	n, _ := squares.Get(context.Background(), "12")
	_, err := squares.Get(context.Background(), "dozen")
	fmt.Println(n, errors.Is(err, nearcache.ErrNotFound))
	// Output: 144 true
}

func ExampleWithInfo() {
	c, _ := nearcache.New(nearcache.Config[string]{})
	defer c.Close()
	ctx := context.Background()
	_ = c.Set(ctx, "k", "v", nearcache.WithTTL(nearcache.TTL{L1: time.Second}))
	var info nearcache.Info
	_, err := c.Get(ctx, "missing", nearcache.WithInfo(&info))
	fmt.Println(errors.Is(err, nearcache.ErrMiss), info.Source)
	// Output: true unknown
}

func ExampleSkipL1() {
	c, _ := nearcache.New(nearcache.Config[string]{
		Load: func(context.Context, string) (string, error) { return "from the source", nil },
	})
	defer c.Close()
	v, _ := c.Get(context.Background(), "k", nearcache.SkipL1())
	fmt.Println(v)
	// Output: from the source
}

func ExampleTierError() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1}) // nobody there
	defer rdb.Close()
	c, _ := nearcache.New(nearcache.Config[string]{
		Name: "k", Redis: rdb, Load: func(context.Context, string) (string, error) { return "from the source", nil },
	})
	v, err := c.Get(context.Background(), "k") // reads outlive Redis
	fmt.Println(v, err)
	err = c.Invalidate(context.Background(), "k") // has taken effect here, and is retried
	tier, ok := errors.AsType[*nearcache.TierError](err)
	fmt.Println(ok, tier.Tier, tier.Op)
	err = c.Close() // tells that it never reached the others
	fmt.Println(err != nil)
	// Output:
	// from the source <nil>
	// true L2 invalidate
	// true
}
