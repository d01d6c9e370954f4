package article

import (
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Executor is the article's simplified Tokio: a queue of tasks, one goroutine that polls them, and
// a parker on which that goroutine sleeps while no task can continue. It is meant to be read;
// package executor is meant to be used.
type Executor struct {
	mu         sync.Mutex // guards the next two; no poll, wake or clone happens under it
	tasks      []*Task
	unfinished int

	parker chan struct{} // holds at most one token
}

// Task is a future that an [Executor] drives.
type Task struct {
	executor *Executor
	future   rawwaker.Future[struct{}]

	// Guarded by the executor's mu.
	queued, done bool
}

// NewExecutor returns an executor without tasks.
func NewExecutor() *Executor { return &Executor{parker: make(chan struct{}, 1)} }

// Spawn adds a task. Only [Executor.Run] polls it.
func (ex *Executor) Spawn(f rawwaker.Future[struct{}]) {
	ex.mu.Lock()
	ex.unfinished++
	ex.mu.Unlock()
	(&Task{executor: ex, future: f}).Wake()
}

// CreateWakerForTask returns a waker that makes the executor poll the task again. In the article it
// is a vtable and a pointer to the task, as in article.c.
func CreateWakerForTask(task *Task) *rawwaker.Waker { return rawwaker.FromWake(task) }

// Wake implements [rawwaker.Wake]. Any goroutine may call it, also during the task's poll and after
// its end.
func (t *Task) Wake() {
	t.executor.schedule(t)
	t.executor.notify()
}

// Run polls until all tasks have completed.
func (ex *Executor) Run() {
	for {
		for task := ex.popFront(); task != nil; task = ex.popFront() {
			waker := CreateWakerForTask(task)
			if task.future.Poll(rawwaker.NewContext(waker)).IsReady() {
				ex.complete(task)
			} // else: the task will wake us when ready
			waker.Drop()
		}
		if ex.idle() {
			return
		}
		// No more tasks, sleep until woken
		<-ex.parker
	}
}

// schedule puts the task into the queue, unless it is there already or has completed.
func (ex *Executor) schedule(task *Task) {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	if !task.queued && !task.done {
		task.queued = true
		ex.tasks = append(ex.tasks, task)
	}
}

// notify leaves a token, so that Run does not sleep if it is about to.
func (ex *Executor) notify() {
	select {
	case ex.parker <- struct{}{}:
	default:
	}
}

func (ex *Executor) popFront() *Task {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	for len(ex.tasks) > 0 {
		task := ex.tasks[0]
		ex.tasks = ex.tasks[1:]
		task.queued = false
		if !task.done { // a task may wake itself and then return Ready
			return task
		}
	}
	return nil
}

func (ex *Executor) complete(task *Task) {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	task.done = true
	ex.unfinished--
}

func (ex *Executor) idle() bool {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	return ex.unfinished == 0
}
