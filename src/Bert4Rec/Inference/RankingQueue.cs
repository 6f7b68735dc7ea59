using System.Diagnostics.Metrics;
using Bert4Rec.Kernels;
using Bert4Rec.Model;

namespace Bert4Rec.Inference;

/// <summary>Something that a worker is to do, and somebody waits for.</summary>
/// <param name="cancellation">What is cancelled before its turn is not done.</param>
internal class RankingWork(CancellationToken cancellation)
{
    private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>What wants a worker of its own; null for a <see cref="RankingTask"/>, of which a worker does many at once.</summary>
    public Action<RankingWorker>? Alone { get; init; }

    /// <summary>Why it could not be done.</summary>
    public Exception? Failure { get; set; }

    public bool IsCancelled => cancellation.IsCancellationRequested;

    /// <summary>Ends when it is done, fails, or is cancelled.</summary>
    public Task Done => _done.Task.WaitAsync(cancellation);

    public void End()
    {
        if (Failure is null)
            _done.TrySetResult();
        else
            _done.TrySetException(Failure);
    }
}

/// <summary>
/// Shares the workers of a device among all threads that want something of them. A caller that finds one free takes it, so that who is
/// alone waits for no other thread; what comes while all are busy waits, and the next worker that is free takes many at once.
/// </summary>
internal sealed class RankingQueue : IDisposable
{
    private static readonly Meter s_meter = new("Bert4Rec");
    private static readonly Histogram<int> s_batchSizes =
        s_meter.CreateHistogram<int>("bert4rec.batch.size", "{request}", "Requests that went through the model together.");

    private readonly object _gate = new();
    private readonly int _maximumBatch;
    private readonly Stack<RankingWorker> _free = [];
    private readonly Queue<RankingWork> _waiting = [];
    private readonly Thread[] _threads;
    private readonly bool _callersWork;
    private bool _isClosed;
    private volatile string? _lost;

    /// <exception cref="DeviceException">There is no such device, or it has not enough memory.</exception>
    public RankingQueue(ModelFolder folder, RecommenderOptions options)
    {
        _maximumBatch = options.MaximumBatch;
        // A GPU's context belongs to the thread that made it, which does all that is done there.
        var opened = new TaskCompletionSource<bool>();
        var first = Start(0, () => RunDevice(folder, options, opened));
        _callersWork = opened.Task.GetAwaiter().GetResult();
        _threads = [first, .. Enumerable.Range(1, _free.Count - 1).Select(index => Start(index, Loop))];
    }

    /// <summary>Why the device will answer no more; null where it may.</summary>
    public string? Lost => _lost;

    /// <summary>Does something, on this thread where a worker is free.</summary>
    /// <exception cref="ObjectDisposedException">The queue is closed.</exception>
    /// <exception cref="OperationCanceledException">The caller wants it no more.</exception>
    public void Run(RankingWork work)
    {
        if (TryTake() is { } worker)
        {
            Do(worker, [work]);
            Return(worker);
        }
        else
        {
            Enqueue([work]);
        }
        work.Done.GetAwaiter().GetResult();
    }

    /// <summary>Leaves work for the workers; see <see cref="RankingWork.Done"/>.</summary>
    /// <exception cref="ObjectDisposedException">The queue is closed.</exception>
    public void Enqueue(IReadOnlyList<RankingWork> work)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isClosed, typeof(Recommender));
            foreach (var each in work)
                _waiting.Enqueue(each);
            if (work.Count == 1)
                Monitor.Pulse(_gate);
            else
                Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Takes no more work, and waits for all that was taken.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _isClosed = true;
            Monitor.PulseAll(_gate);
        }
        foreach (var thread in _threads)
            thread.Join();
    }

    private static Thread Start(int index, Action action)
    {
        var thread = new Thread(() => action()) { IsBackground = true, Name = $"recommender {index}" };
        thread.Start();
        return thread;
    }

    private void RunDevice(ModelFolder folder, RecommenderOptions options, TaskCompletionSource<bool> opened)
    {
        DeviceSet? device = null;
        DeviceBuffer<float>? parameters = null;
        var workers = new List<RankingWorker>();
        try
        {
            device = new DeviceSet(options.Device, options.Threads);
            parameters = device.Kernels[0].AllocateFloats(folder.Layout.Length);
            parameters.Upload(folder.Parameters);
            foreach (var kernels in device.Kernels)
                workers.Add(new RankingWorker(folder, kernels, parameters, options.MaximumBatch, workers.FirstOrDefault()));
            workers.ForEach(_free.Push);
            opened.SetResult(device.Kernels[0].MemoryBytes is null);
            Loop();
            // Callers may still be at work, and the other threads.
            lock (_gate)
            {
                while (_free.Count < workers.Count)
                    Monitor.Wait(_gate);
            }
        }
        catch (Exception failure) when (!opened.Task.IsCompleted)
        {
            opened.SetException(failure);
        }
        finally
        {
            Enumerable.Reverse(workers).ToList().ForEach(worker => worker.Dispose());
            parameters?.Dispose();
            device?.Dispose();
        }
    }

    private void Loop()
    {
        var batch = new List<RankingWork>();
        while (TakeBatch(batch) is { } worker)
        {
            Do(worker, batch);
            Return(worker);
        }
    }

    private RankingWorker? TryTake()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isClosed, typeof(Recommender));
            return _callersWork && _waiting.Count == 0 && _free.TryPop(out var worker) ? worker : null;
        }
    }

    private void Return(RankingWorker worker)
    {
        lock (_gate)
        {
            _free.Push(worker);
            if (_isClosed)
                Monitor.PulseAll(_gate);
            else if (_waiting.Count > 0)
                Monitor.Pulse(_gate);
        }
    }

    /// <summary>Waits for work and a worker, and takes a share: what waits is for all workers that are free.</summary>
    /// <returns>Null once the queue is closed and empty.</returns>
    private RankingWorker? TakeBatch(List<RankingWork> batch)
    {
        batch.Clear();
        lock (_gate)
        {
            while (_waiting.Count == 0 || _free.Count == 0)
            {
                if (_isClosed && _waiting.Count == 0)
                    return null;
                Monitor.Wait(_gate);
            }
            int share = Math.Min(_maximumBatch, (_waiting.Count + _free.Count - 1) / _free.Count);
            while (batch.Count < share && _waiting.TryDequeue(out var work))
            {
                if (work.IsCancelled)
                    continue;
                batch.Add(work);
            }
            return _free.Pop();
        }
    }

    /// <summary>Does what it is given; what fails, its work tells of.</summary>
    private void Do(RankingWorker worker, IReadOnlyList<RankingWork> batch)
    {
        try
        {
            RankingTask[] tasks = [.. batch.OfType<RankingTask>()];
            if (tasks.Length > 0)
            {
                s_batchSizes.Record(tasks.Length);
                worker.Rank(tasks);
            }
            foreach (var work in batch)
                work.Alone?.Invoke(worker);
        }
        catch (Exception failure)
        {
            if (failure is DeviceException { IsLasting: true })
                _lost = failure.Message;
            foreach (var work in batch)
                work.Failure ??= failure;
        }
        foreach (var work in batch)
            work.End();
    }
}
