package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nearcache/nearcache"
	"github.com/nearcache/nearcache/codec"
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

type Price struct{ Cents int }

// shopDB stands for a database that can be taken away.
type shopDB struct {
	cents int
	down  bool
}

func (db *shopDB) Price(context.Context, string) (Price, error) {
	if db.down {
		return Price{}, errors.New("the database is down")
	}
	return Price{db.cents}, nil
}

func ExampleCache_Expire() {
	server, _ := miniredis.Run()
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	db := &shopDB{cents: 100}
	ctx := context.Background()
	prices, err := nearcache.New(nearcache.Config[Price]{
		Name:  "prices",
		Redis: rdb,
		TTL: nearcache.TTL{
			L1: time.Minute, L2: 10 * time.Minute,
			StaleIfError: 24 * time.Hour,
		},
		LoadSoftTimeout: 200 * time.Millisecond,
		Load:            func(ctx context.Context, id string) (Price, error) { return db.Price(ctx, id) },
	})
	if err != nil {
		panic(err)
	}
	defer prices.Close()

	_, _ = prices.Get(ctx, "tea")
	for server.Exists("{prices}:v:tea") && prices.Stats().L2Hits == 0 { // until the fill has arrived
		_, _ = prices.Get(ctx, "tea", nearcache.SkipL1())
	}
	db.down = true
	_ = prices.Expire(ctx, "tea")
	var info nearcache.Info
	p, err := prices.Get(ctx, "tea", nearcache.WithInfo(&info))
	fmt.Println(p.Cents, info.Stale, err)
	// Output: 100 true <nil>
}

type Page struct{ Body string }

var errNotModified = errors.New("304")

// fetch stands for an HTTP client.
func fetch(_ context.Context, url, etag string) (Page, string, time.Duration, error) {
	if etag == "v1" {
		return Page{}, "", 0, errNotModified
	}
	return Page{"the page at " + url}, "v1", time.Hour, nil
}

func ExampleItem() {
	server, _ := miniredis.Run()
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	pages, err := nearcache.New(nearcache.Config[Page]{
		Name:  "pages",
		Redis: rdb,
		LoadItem: func(ctx context.Context, url string, item *nearcache.Item[Page]) (Page, error) {
			page, etag, maxAge, err := fetch(ctx, url, item.Validator) // If-None-Match
			if errors.Is(err, errNotModified) {
				return Page{}, nearcache.ErrNotModified // the old one lives on, and is not moved
			}
			item.Validator = etag
			item.TTL.L2 = maxAge
			item.TTL.L1 = min(maxAge, time.Minute)
			return page, err
		},
	})
	if err != nil {
		panic(err)
	}
	defer pages.Close()
	page, err := pages.Get(context.Background(), "/index")
	fmt.Println(page.Body, err)
	// Output: the page at /index <nil>
}

func ExampleCache_InvalidateTags() {
	db := database{"1": "Ada", "2": "Grace"}
	ctx := context.Background()
	users, err := nearcache.New(nearcache.Config[User]{
		LoadItem: func(ctx context.Context, id string, item *nearcache.Item[User]) (User, error) {
			item.Tags = append(item.Tags, "team:engines") // whatever it was made from
			return db.User(ctx, id)
		},
	})
	if err != nil {
		panic(err)
	}
	defer users.Close()

	_, _ = users.Get(ctx, "1")
	_ = users.Set(ctx, "2", User{"2", "Grace"}, nearcache.WithTags("team:engines", "team:compilers"))

	db["1"], db["2"] = "Ada Lovelace", "Grace Hopper"
	err = users.InvalidateTags(ctx, "team:engines") // all values that name it
	fmt.Println(err)

	ada, _ := users.Get(ctx, "1")
	grace, _ := users.Get(ctx, "2")
	fmt.Println(ada.Name, "and", grace.Name)

	err = users.Clear(ctx) // everything
	fmt.Println(err)
	// Output:
	// <nil>
	// Ada Lovelace and Grace Hopper
	// <nil>
}

func ExampleConfig_seal() {
	server, _ := miniredis.Run()
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	newest, previous := make([]byte, 32), []byte("of 32 random bytes, as all others")[:32] // from your secret store

	seal, err := codec.NewSeal(
		codec.Key{ID: 2, Secret: newest},   // seals
		codec.Key{ID: 1, Secret: previous}, // still opens
	)
	if err != nil {
		panic(err)
	}
	users, err := nearcache.New(nearcache.Config[User]{
		Name:  "users",
		Redis: rdb,
		Seal:  seal,
	})
	if err != nil {
		panic(err)
	}
	defer users.Close()

	_ = users.Set(context.Background(), "42", User{"42", "Ada"})
	stored, _ := server.Get("{users}:v:42")
	fmt.Println(strings.Contains(stored, "Ada"))
	// Output: false
}

func ExampleConfig_detectMutation() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.MessageKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	baskets, err := nearcache.New(nearcache.Config[[]string]{
		Name:           "baskets",
		DetectMutation: testing.Testing(), // in tests and development
		Logger:         log,
		Load:           func(context.Context, string) ([]string, error) { return []string{"tea"}, nil },
	})
	if err != nil {
		panic(err)
	}

	basket, _ := baskets.Get(context.Background(), "ada")
	basket[0] = "coffee" // all other readers get coffee too
	_ = baskets.Close()
	// Output: level=ERROR cache=baskets key=ada type=[]string
}

func ExampleConfig_clone() {
	baskets, err := nearcache.New(nearcache.Config[[]string]{
		Load:  func(context.Context, string) ([]string, error) { return []string{"tea"}, nil },
		Clone: slices.Clone[[]string],
	})
	if err != nil {
		panic(err)
	}
	defer baskets.Close()

	basket, _ := baskets.Get(context.Background(), "ada")
	basket[0] = "coffee"
	basket, _ = baskets.Get(context.Background(), "ada")
	fmt.Println(basket)
	// Output: [tea]
}

func ExampleHooks() {
	page := func(what string, err error) { fmt.Println(what, err) }
	hooks := nearcache.Hooks{
		Event: func(e nearcache.Event) {
			if e.Kind == "disagreement" {
				page("two versions of the service disagree", e.Err)
			}
		},
		End: func(ctx context.Context, op *nearcache.Operation) {
			if op.Kind == "load" && op.Took > time.Second {
				slog.WarnContext(ctx, "slow load", "key", op.Keys, "took", op.Took, "result", op.Result)
			}
		},
	}
	counted := nearcache.Hooks{End: func(_ context.Context, op *nearcache.Operation) { fmt.Println(op.Kind, op.Result) }}
	users, _ := nearcache.New(nearcache.Config[User]{Load: database{"42": "Ada"}.User, Hooks: nearcache.Tee(hooks, counted)})
	defer users.Close()
	_, _ = users.Get(context.Background(), "42")
	_, _ = users.Get(context.Background(), "43")
	// Output:
	// load ok
	// get ok
	// load not found
	// get not found
}

func ExampleCache_Explain() {
	users, _ := nearcache.New(nearcache.Config[User]{Load: database{"42": "Ada"}.User})
	defer users.Close()
	ctx := context.Background()

	x, err := users.Explain(ctx, "42")
	fmt.Println(x.Next, err)
	// Output:
	// load: there is no Redis <nil>
}
