package memoize

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unsafe"

	"github.com/nearcache/nearcache"
)

// Cache is where functions that return a V keep what they returned. Its own methods
// are those of [nearcache.Cache], with keys as [Func.Key] returns them; Close ends it
// for all functions. It is safe for concurrent use.
type Cache[V any] struct {
	*nearcache.Cache[V]

	mu    sync.RWMutex
	funcs map[string]loader[V]
}

// loader computes the result for what follows the prefix of a key.
type loader[V any] struct {
	prefix string
	load   func(ctx context.Context, args string, item *nearcache.Item[V]) (V, error)
}

// New returns a cache of cfg, which must have no loader: the functions are the loaders.
// Other errors are those of [nearcache.New]. Whoever calls New calls Close.
func New[V any](cfg nearcache.Config[V]) (*Cache[V], error) {
	if cfg.Load != nil || cfg.LoadItem != nil || cfg.LoadMany != nil {
		return nil, errors.New("memoize: Load, LoadItem or LoadMany is set, must be none: the wrapped functions are the loaders")
	}
	c := &Cache[V]{funcs: make(map[string]loader[V])}
	cfg.LoadItem = c.load
	var err error
	if c.Cache, err = nearcache.New(cfg); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Cache[V]) load(ctx context.Context, key string, item *nearcache.Item[V]) (V, error) {
	name, _, _ := strings.Cut(key, "@")
	c.mu.RLock()
	f, ok := c.funcs[name]
	c.mu.RUnlock()
	args, ours := strings.CutPrefix(key, f.prefix)
	if !ok || !ours {
		var zero V
		return zero, fmt.Errorf("memoize: key %.64q belongs to no wrapped function: get it from Func.Key", key)
	}
	return f.load(ctx, args, item)
}

// Options are those of one function. The zero value is ready.
type Options struct {
	// TTL is how long results live. Fields that are zero are the cache's.
	TTL nearcache.TTL

	// Version is part of the keys. Change it when the function begins to return
	// something else: nothing of another version is answered. Default 0.
	Version int
}

// Func is a cached function. It is safe for concurrent use.
type Func[A, V any] struct {
	cache  *Cache[V]
	name   string
	prefix string // of its keys
	encode encoder
	opts   []nearcache.Option
	pool   sync.Pool // of *scratch[A]
}

// scratch is what a key is made from and in. On the stack it would be allocated anew in
// every call, since encoders are not known when this is compiled.
type scratch[A any] struct {
	arg  A
	key  []byte
	room [128]byte // enough for most keys
}

// maxScratch bounds the keys whose memory is kept.
const maxScratch = 4096

// Wrap returns fn as a cached function under a name of 1 to 64 bytes without "@", ":",
// spaces and control characters, which no other function of the cache has. All
// instances must use it for the same function.
//
// Arguments are booleans, numbers, strings, times, and structs, arrays and slices of
// them; several go into a struct. Wrap returns an error that names the field for all
// other types. Arguments that are equal by == have one key, slices if all elements are
// equal; nil and empty slices differ. NaN is equal to itself, and times at the same
// instant are equal. fn is given a copy, with times in UTC and no negative zeros. It
// must neither depend on anything else that changes the result nor keep what it
// returned to change it.
//
// An error of fn is returned to those who wait for it and not kept beyond
// ErrorBackoff, but for [nearcache.ErrNotFound], which is remembered for TTL.Negative.
func Wrap[A, V any](c *Cache[V], name string, fn func(context.Context, A) (V, error), o Options) (*Func[A, V], error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	encode, shape, err := compile[A]()
	if err != nil {
		return nil, fmt.Errorf("memoize: function %q: %w", name, err)
	}
	f := &Func[A, V]{
		cache: c, name: name, encode: encode,
		// An argument that has changed its shape is another argument, whatever the version.
		prefix: fmt.Sprintf("%s@%d:%08x:", name, o.Version, shape),
		opts:   []nearcache.Option{nearcache.WithTTL(o.TTL), nearcache.WithTags(name)},
	}
	f.pool.New = func() any {
		s := new(scratch[A])
		s.key = s.room[:0]
		return s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, taken := c.funcs[name]; taken {
		return nil, fmt.Errorf("memoize: a function is called %q already: each needs a name of its own", name)
	}
	c.funcs[name] = loader[V]{f.prefix, func(ctx context.Context, args string, item *nearcache.Item[V]) (v V, err error) {
		a, err := decode[A](args)
		if err != nil {
			return v, fmt.Errorf("memoize: %s: %w", name, err)
		}
		if !slices.Contains(item.Tags, name) { // asked for by its key
			item.Tags = append(item.Tags, name)
		}
		return fn(ctx, a)
	}}
	return f, nil
}

func checkName(name string) error {
	if n := len(name); n < 1 || n > 64 {
		return fmt.Errorf("memoize: a function's name of %d bytes, must be 1 to 64", n)
	}
	for _, r := range name {
		if r == '@' || r == ':' || unicode.IsSpace(r) || unicode.IsControl(r) {
			return fmt.Errorf("memoize: the function's name %q must not contain %q", name, r)
		}
	}
	return nil
}

// Call returns what the function returns for a: from L1, else from Redis, else from the
// function, once for all who ask at the same time. The result is shared: do not change
// it, unless [nearcache.Config.Clone] is set. Errors are those of the function and of
// [nearcache.Cache.Get].
func (f *Func[A, V]) Call(ctx context.Context, a A) (V, error) {
	v, err := f.cache.Get(ctx, f.Key(a), f.opts...)
	return v, f.explain(err)
}

// Get is Call with options, such as [nearcache.SkipL1] or [nearcache.WithInfo].
func (f *Func[A, V]) Get(ctx context.Context, a A, opts ...nearcache.Option) (V, error) {
	v, err := f.cache.Get(ctx, f.Key(a), slices.Concat(f.opts, opts)...)
	return v, f.explain(err)
}

// Forget takes the results for these arguments from every tier and instance, when what
// they were computed from has changed. It concerns this version of the function only.
// Errors are those of [nearcache.Cache.Invalidate].
func (f *Func[A, V]) Forget(ctx context.Context, args ...A) error {
	keys := make([]string, len(args))
	for i, a := range args {
		keys[i] = f.Key(a)
	}
	return f.explain(f.cache.Invalidate(ctx, keys...))
}

// ForgetAll takes all results of the function, whatever its version, from every tier
// and instance, at a cost that does not depend on how many they are. Errors are those
// of [nearcache.Cache.InvalidateTags].
func (f *Func[A, V]) ForgetAll(ctx context.Context) error {
	return f.cache.InvalidateTags(ctx, f.name)
}

// Key returns the key of the result for a: the function's name, its version, a hash of
// the argument's type, and the argument as text. It is one allocation.
func (f *Func[A, V]) Key(a A) string {
	s := f.pool.Get().(*scratch[A])
	s.arg = a
	s.key = f.encode(append(s.key[:0], f.prefix...), unsafe.Pointer(&s.arg))
	key := string(s.key)
	var zero A
	if s.arg = zero; cap(s.key) <= maxScratch {
		f.pool.Put(s)
	}
	return key
}

// explain says what to do about an argument that makes no key.
func (f *Func[A, V]) explain(err error) error {
	if err != nil && errors.Is(err, nearcache.ErrKey) {
		return fmt.Errorf("memoize: %s: shorten the argument or raise MaxKeyBytes: %w", f.name, err)
	}
	return err
}
