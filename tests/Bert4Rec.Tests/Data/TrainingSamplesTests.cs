using Bert4Rec.Data;

namespace Bert4Rec.Tests.Data;

public sealed class TrainingSamplesTests
{
    [Fact]
    public void Samples_that_follow_each_other_are_a_run()
    {
        Sample[] samples = [new(1, 1), new(1, 2), new(1, 3), new(2, 4), new(4, 9), new(4, 10), new(4, 12)];
        TrainingSamples runs = [.. samples];
        Assert.Equal(samples, runs);
        Assert.Equal(samples.Length, runs.Length);
        Assert.Equal([new(1, 1, 3), new(2, 4, 1), new(4, 9, 2), new(4, 12, 1)], runs.Runs.ToArray());
        Assert.Equal(4, runs.Runs[0].End);
    }
}
