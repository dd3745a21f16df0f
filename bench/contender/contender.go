// Package contender puts the caches that are compared behind one face. Each is
// called in the cheapest way that its own documentation shows.
package contender

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// Product is the value that all caches hold: 200 bytes that point nowhere.
type Product struct {
	ID, Version, Stock, Sold, Category, Brand, Seller, Created, Updated int64

	Width, Height, Depth, Weight float64

	Prices [12]int64 // one a market
}

// ProductOf returns the product that belongs to key.
func ProductOf(key string) Product {
	h := fnv.New64a()
	h.Write([]byte(key))
	id := int64(binary.BigEndian.Uint64(h.Sum(nil)) >> 1)
	return Product{ID: id, Stock: id % 1000, Category: id % 97, Created: id, Updated: id, Weight: float64(id%5000) / 1000}
}

// TTL is the life of what is cached, longer than any measurement.
const TTL = time.Hour

// Cache is one open instance of a contender.
type Cache interface {
	// Get returns the value from the nearest tier that has it, and else from
	// [Env.Load].
	Get(ctx context.Context, key string) (Product, error)
	Set(ctx context.Context, key string, p Product) error
	// Invalidate takes the value from every tier, and from other instances if
	// the contender can.
	Invalidate(ctx context.Context, key string) error
	Close()
}

// ManyGetter is a Cache that reads several keys in one call, without a loader.
type ManyGetter interface {
	GetMany(ctx context.Context, keys []string) (map[string]Product, error)
}

// Load is the source behind a cache.
type Load func(ctx context.Context, key string) (Product, error)

// Env is what a contender is opened with.
type Env struct {
	Redis     string // host:port
	Namespace string // begins all its keys in Redis
	Capacity  int    // entries that L1 must have room for
	Load      Load   // nil: a miss is an error
}

// Contender is a cache library in one of its configurations.
type Contender struct {
	Name  string
	L1    bool // keeps values in the process
	L2    bool // keeps values in Redis
	Tells bool // an invalidation reaches other instances
	Many  bool // its instances are ManyGetters, which ask L1 first where there is one
	Open  func(Env) (Cache, error)
}

// Names of the contenders.
const (
	Nearcache    = "nearcache"
	NearcacheL1  = "nearcache, L1 only"
	Ristretto    = "ristretto"
	Otter        = "otter"
	Theine       = "theine"
	Sturdyc      = "sturdyc"
	SturdycL1    = "sturdyc, L1 only"
	GoRedis      = "go-redis"
	GoRedisCSC   = "go-redis client-side"
	GoRedisCache = "go-redis/cache"
	Rueidis      = "rueidis DoCache"
	RueidisAside = "rueidisaside"
	Valkey       = "valkey-go DoCache"
)

// All lists the contenders.
var All = []Contender{
	{Name: Nearcache, L1: true, L2: true, Tells: true, Many: true, Open: openNearcache},
	{Name: NearcacheL1, L1: true, Open: openNearcacheL1},
	{Name: Ristretto, L1: true, Many: true, Open: openRistretto},
	{Name: Otter, L1: true, Many: true, Open: openOtter},
	{Name: Theine, L1: true, Many: true, Open: openTheine},
	{Name: SturdycL1, L1: true, Open: openSturdycL1},
	{Name: Sturdyc, L1: true, L2: true, Many: true, Open: openSturdyc},
	{Name: GoRedis, L2: true, Many: true, Open: openGoRedis},
	{Name: GoRedisCSC, L1: true, L2: true, Tells: true, Open: openGoRedisCSC},
	{Name: GoRedisCache, L1: true, L2: true, Open: openGoRedisCache},
	{Name: Rueidis, L1: true, L2: true, Tells: true, Many: true, Open: openRueidis},
	{Name: RueidisAside, L1: true, L2: true, Tells: true, Open: openRueidisAside},
	{Name: Valkey, L1: true, L2: true, Tells: true, Many: true, Open: openValkey},
}

// errMiss is a miss without a loader.
var errMiss = errors.New("no tier has the key")

func (e Env) load(ctx context.Context, key string) (Product, error) {
	if e.Load == nil {
		return Product{}, errMiss
	}
	return e.Load(ctx, key)
}

// encode and decode are the encoding of all caches that leave it to their user.
func encode(p Product) ([]byte, error) { return msgpack.Marshal(&p) }

func decode(data []byte) (p Product, err error) {
	err = msgpack.Unmarshal(data, &p)
	return p, err
}
