package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nearcache/nearcache"
	"github.com/redis/go-redis/v9"
)

// service is one instance of the product service. This file is all of it: what a
// service that uses nearcache looks like.
type service struct {
	store *store
	cache *nearcache.Cache[product]
}

// newService returns an instance with a cache of its own. Instances whose caches have
// the same name on the same Redis keep each other coherent. The caller closes it.
func newService(name string, maxStaleness, redisTimeout time.Duration, rdb redis.UniversalClient, store *store, hooks nearcache.Hooks) (*service, error) {
	cache, err := nearcache.New(nearcache.Config[product]{
		Name:  name,
		Redis: rdb,
		TTL:   nearcache.TTL{L1: 10 * time.Minute, L2: time.Hour, Negative: 10 * time.Second},
		Load: func(ctx context.Context, id string) (product, error) {
			p, err := store.product(ctx, id)
			if errors.Is(err, sql.ErrNoRows) {
				err = nearcache.ErrNotFound // remembered, so that asking again does not reach the database
			}
			return p, err
		},
		MaxStaleness: maxStaleness,
		RedisTimeout: redisTimeout,
		Hooks:        hooks,
	})
	if err != nil {
		return nil, err
	}
	return &service{store: store, cache: cache}, nil
}

func (s *service) close() error { return s.cache.Close() }

// product returns a product from L1, else from Redis, else from the database.
func (s *service) product(ctx context.Context, id string, opts ...nearcache.Option) (product, error) {
	return s.cache.Get(ctx, id, opts...)
}

// setPrice changes a price, first in the database and then for every instance: the
// other order would let a load between the two bring the old price back.
func (s *service) setPrice(ctx context.Context, id string, cents int64) (product, error) {
	p, err := s.store.setPrice(ctx, id, cents)
	if err != nil {
		return product{}, err
	}
	// A client that hangs up now must not keep the change from the other instances.
	if err := s.cache.Invalidate(context.WithoutCancel(ctx), id); err != nil {
		return p, fmt.Errorf("the price of product %q is changed, but not announced yet: %w", id, err)
	}
	return p, nil
}

// handler returns the HTTP API:
//
//	GET /products/{id}          the product; X-Cache says where it came from, and
//	                            Cache-Control: no-cache asks past this instance's memory
//	PUT /products/{id}/price    {"cents": 1999}; answers the product as it now is
//	GET /stats                  what the cache did so far
func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /products/{id}", s.getProduct)
	mux.HandleFunc("PUT /products/{id}/price", s.putPrice)
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.cache.Stats()) })
	return mux
}

func (s *service) getProduct(w http.ResponseWriter, r *http.Request) {
	var info nearcache.Info
	opts := []nearcache.Option{nearcache.WithInfo(&info)}
	if r.Header.Get("Cache-Control") == "no-cache" {
		opts = append(opts, nearcache.SkipL1())
	}
	p, err := s.product(r.Context(), r.PathValue("id"), opts...)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("X-Cache", info.Source.String())
	reply(w, p)
}

func (s *service) putPrice(w http.ResponseWriter, r *http.Request) {
	var body struct{ Cents *int64 }
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&body)
	if err != nil || body.Cents == nil || *body.Cents < 0 {
		http.Error(w, `the body must be {"cents": N} with N from 0 on`, http.StatusBadRequest)
		return
	}
	p, err := s.setPrice(r.Context(), r.PathValue("id"), *body.Cents)
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, p)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, err error) {
	if errors.Is(err, nearcache.ErrNotFound) || errors.Is(err, sql.ErrNoRows) {
		http.Error(w, "no such product", http.StatusNotFound)
		return
	}
	http.Error(w, err.Error(), http.StatusInternalServerError)
}
