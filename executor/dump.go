package executor

// diagnosis is what is known of a task beside what it needs.
type diagnosis struct{}

func (d *diagnosis) polling(t *task) func() { return func() {} }
