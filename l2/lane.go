package l2

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

// lane is the way to one server: calls on it share pipelines and a breaker.
type lane struct {
	breaker breaker
	calls   chan *call
}

// lanes are the ways to all servers, one to each master of a Redis Cluster: were
// there one to all, a single master that is dead or silent would hold up, and then
// break, the calls to every other one.
type lanes struct {
	mu   sync.RWMutex
	main *lane            // to a server that is no cluster, or that is not known
	to   map[string]*lane // by address; that of a master which is gone just sleeps
}

// lane returns the way to the server that holds a Redis key.
func (s *Store) lane(ctx context.Context, key string) *lane {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok || !s.mapped.Load() {
		return s.lanes.main
	}
	node, err := cluster.MasterForKey(ctx, key)
	if err != nil {
		return s.lanes.main
	}
	addr := node.Options().Addr
	s.lanes.mu.RLock()
	l := s.lanes.to[addr]
	s.lanes.mu.RUnlock()
	if l == nil {
		l = s.newLane(addr)
	}
	return l
}

func (s *Store) newLane(addr string) *lane {
	s.lanes.mu.Lock()
	defer s.lanes.mu.Unlock()
	l := s.lanes.to[addr]
	if l == nil {
		l = s.startLane()
		s.lanes.to[addr] = l
	}
	return l
}

// startLane returns a lane with its pipelines, which end with the store.
func (s *Store) startLane() *lane {
	l := &lane{calls: make(chan *call)}
	for range pipelines {
		s.running.Go(func() { s.pipeline(l) })
	}
	return l
}

// byLane returns the shards of each lane. For a cluster it asks for the map of
// slots first if there is none: until then nobody else does, since that may take
// longer than a budget.
func (s *Store) byLane(ctx context.Context) map[*lane][]int {
	if cluster, ok := s.client.(*redis.ClusterClient); ok && !s.mapped.Load() {
		_, err := cluster.MasterForKey(ctx, s.space.shards[0].record)
		s.mapped.Store(err == nil)
	}
	groups := make(map[*lane][]int, 1)
	for i, k := range s.space.shards {
		l := s.lane(ctx, k.record)
		groups[l] = append(groups[l], i)
	}
	return groups
}

// suspect has a cluster client ask for the map of slots again, in the background,
// since a server did not answer. By itself it asks only when a server that it
// reaches tells of a change, or after a minute: a master that died tells nothing.
func (s *Store) suspect(ctx context.Context) {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		cluster.ReloadState(ctx)
	}
}

// away reports whether no lane is open to calls.
func (l *lanes) away() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, to := range l.to {
		if !to.breaker.open() {
			return false
		}
	}
	return len(l.to) > 0 || l.main.breaker.open()
}
