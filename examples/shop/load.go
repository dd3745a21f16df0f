package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/nearcache/nearcache"
)

const (
	readersEach = 8  // for an instance: as many requests as it serves at once
	pageReads   = 20 // products that a page shows, read one after the other
	pagePause   = time.Millisecond
	bypassOneIn = 1000 // reads that ask past L1
	httpPause   = 5 * time.Millisecond
	freshKeys   = 500 // products compared with the database after quiet
)

// figures are what the load saw.
type figures struct {
	updates, errors atomic.Int64
	reads           [nearcache.FromLoader + 1]atomic.Int64 // by source
	elapsed         time.Duration

	mu      sync.Mutex
	latency [nearcache.FromLoader + 1]*hdrhistogram.Histogram // of direct reads, by source
	http    *hdrhistogram.Histogram
}

func histogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(time.Minute), 2) // nanoseconds, two digits
}

// trade puts load on the instances until the time is over.
func (s *shop) trade(ctx context.Context, screen *screen) {
	ctx, cancel := context.WithTimeout(ctx, s.duration)
	defer cancel()
	for i := range s.figures.latency {
		s.figures.latency[i] = histogram()
	}
	s.figures.http = histogram()
	began := time.Now()
	var trading sync.WaitGroup
	for i := range s.instances {
		for range readersEach {
			trading.Go(func() { s.read(ctx, i) })
		}
	}
	trading.Go(func() { s.browse(ctx) })
	if s.updates > 0 {
		trading.Go(func() { s.update(ctx) })
	}
	trading.Go(func() { s.show(ctx, screen) })
	trading.Wait()
	s.figures.elapsed = time.Since(began)
}

// read asks one instance for one product after the other, as its handlers do.
func (s *shop) read(ctx context.Context, instance int) {
	var info nearcache.Info
	var latency [nearcache.FromLoader + 1]*hdrhistogram.Histogram
	for i := range latency {
		latency[i] = histogram()
	}
	next := s.demand.reader()
	for n := 1; ctx.Err() == nil; n++ {
		if n%pageReads == 0 {
			// A reader that never rests keeps the runtime from looking at its sockets
			// for up to 10 ms, and all others wait.
			time.Sleep(pagePause)
		}
		id, bypass := s.demand.ids[next()], n%bypassOneIn == 0
		opts := []nearcache.Option{nearcache.WithInfo(&info), nearcache.SkipL1()}
		if !bypass {
			opts = opts[:1]
		}
		began := s.now()
		p, err := s.instances[instance].product(context.Background(), id, opts...)
		ended := s.now()
		if err != nil {
			s.figures.errors.Add(1)
			continue
		}
		s.journal.Read(id, p.Version, instance, began, ended, bypass)
		s.figures.reads[info.Source].Add(1)
		_ = latency[info.Source].RecordValue(int64(ended - began)) // a minute at most: the load timeout is shorter
	}
	s.figures.mu.Lock()
	defer s.figures.mu.Unlock()
	for i := range latency {
		s.figures.latency[i].Merge(latency[i])
	}
}

// browse reads through the HTTP API, at a browser's pace.
func (s *shop) browse(ctx context.Context) {
	next := s.demand.sample()
	for n := 0; ctx.Err() == nil; n++ {
		instance, id := n%len(s.instances), s.demand.ids[next()]
		began := s.now()
		p, err := s.fetch(s.addresses[instance], id)
		ended := s.now()
		if err != nil {
			s.figures.errors.Add(1)
		} else {
			s.journal.Read(id, p.Version, instance, began, ended, false)
			_ = s.figures.http.RecordValue(int64(ended - began))
		}
		time.Sleep(httpPause)
	}
}

func (s *shop) fetch(address, id string) (p product, err error) {
	answer, err := http.Get("http://" + address + "/products/" + id)
	if err != nil {
		return p, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return p, fmt.Errorf("the API answered %s", answer.Status)
	}
	return p, json.NewDecoder(answer.Body).Decode(&p)
}

// update changes prices, of popular products more often, on any instance.
func (s *shop) update(ctx context.Context) {
	next := s.demand.sample()
	tick := time.NewTicker(time.Second / time.Duration(s.updates))
	defer tick.Stop()
	var updating sync.WaitGroup
	defer updating.Wait()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		id, instance := s.demand.ids[next()], n%len(s.instances)
		updating.Go(func() { s.updateOne(id, instance) })
	}
}

func (s *shop) updateOne(id string, instance int) {
	change := s.instances[instance].setPrice
	if s.noInvalidate {
		change = s.store.setPrice
	}
	p, err := change(context.Background(), id, 100+rand.Int64N(9900))
	if err != nil {
		s.figures.errors.Add(1)
		return
	}
	s.journal.Acked(id, p.Version, instance, s.now())
	s.figures.updates.Add(1)
}

// settle waits until all is quiet, and compares what the instances hold of the
// products most asked for with the database.
func (s *shop) settle() {
	time.Sleep(250 * time.Millisecond) // announcements take a network hop
	ctx := context.Background()
	for _, id := range s.demand.ids[:min(freshKeys, len(s.demand.ids))] {
		truth, err := s.store.product(ctx, id)
		if err != nil {
			s.figures.errors.Add(1)
			continue
		}
		copies := make([]int64, len(s.instances))
		for i, instance := range s.instances {
			if p, err := instance.product(ctx, id); err == nil {
				copies[i] = p.Version
			} else {
				s.figures.errors.Add(1)
			}
		}
		s.journal.Converged(id, truth.Version, copies)
	}
}

// show tells how it goes.
func (s *shop) show(ctx context.Context, screen *screen) {
	tick := time.NewTicker(screen.pace)
	defer tick.Stop()
	began, last := time.Now(), int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f, reads := &s.figures, int64(0)
		for i := range f.reads {
			reads += f.reads[i].Load()
		}
		screen.progress(fmt.Sprintf("%5.1f s  %s reads/s  L1 %s  %s updates  stale %v at most",
			time.Since(began).Seconds(), grouped(int64(float64(reads-last)/screen.pace.Seconds())),
			share(f.reads[nearcache.FromL1].Load(), reads), strconv.FormatInt(f.updates.Load(), 10),
			s.journal.Report().Longest.Round(100*time.Microsecond)))
		last = reads
	}
}
