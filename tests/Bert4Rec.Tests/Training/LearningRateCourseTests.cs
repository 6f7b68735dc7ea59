using Bert4Rec.Configuration;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Training;

public class LearningRateCourseTests
{
    [Theory]
    [InlineData(LearningRateSchedule.Linear)]
    [InlineData(LearningRateSchedule.Cosine)]
    public void Past_the_end_it_stays_where_it_was(Enum schedule)
    {
        var course = new LearningRateCourse((LearningRateSchedule)schedule, 0.1, 4);
        Assert.Equal(0, course.Factor(9, 0.5), 1e-12);
    }

    [Theory]
    [InlineData(LearningRateSchedule.Constant, 0, 1, 0.25, 1)]
    [InlineData(LearningRateSchedule.Constant, 0, 4, 0.75, 1)]
    [InlineData(LearningRateSchedule.Constant, 0.5, 1, 0.5, 0.25)]
    [InlineData(LearningRateSchedule.Constant, 0.5, 3, 0, 1)]
    [InlineData(LearningRateSchedule.Linear, 0, 1, 0, 1)]
    [InlineData(LearningRateSchedule.Linear, 0, 2, 0.5, 0.625)]
    [InlineData(LearningRateSchedule.Linear, 0, 4, 0.9, 0.025)]
    [InlineData(LearningRateSchedule.Linear, 0.25, 1, 0.1, 0.1)]
    [InlineData(LearningRateSchedule.Linear, 0.25, 2, 0, 1)]
    [InlineData(LearningRateSchedule.Linear, 0.25, 3, 0.5, 0.5)]
    [InlineData(LearningRateSchedule.Cosine, 0, 1, 0, 1)]
    [InlineData(LearningRateSchedule.Cosine, 0, 2, 0, 0.85355339)]
    [InlineData(LearningRateSchedule.Cosine, 0, 3, 0, 0.5)]
    [InlineData(LearningRateSchedule.Cosine, 0, 4, 1, 0)]
    [InlineData(LearningRateSchedule.Cosine, 0.5, 2, 0, 0.5)]
    [InlineData(LearningRateSchedule.Cosine, 0.5, 4, 0, 0.5)]
    public void Four_epochs(Enum schedule, double warmup, int epoch, double share, double expected) =>
        Assert.Equal(expected, new LearningRateCourse((LearningRateSchedule)schedule, warmup, 4).Factor(epoch, share), 1e-8);

    [Theory]
    [InlineData(LearningRateSchedule.Linear, 0)]
    [InlineData(LearningRateSchedule.Cosine, 0)]
    [InlineData(LearningRateSchedule.Cosine, 0.3)]
    [InlineData(LearningRateSchedule.Linear, 1)]
    public void It_rises_then_falls_and_never_leaves_its_range(Enum schedule, double warmup)
    {
        const int Epochs = 7, Steps = 11;
        var course = new LearningRateCourse((LearningRateSchedule)schedule, warmup, Epochs);
        double[] factors =
        [
            .. Enumerable.Range(0, Epochs * Steps).Select(step => course.Factor((step / Steps) + 1, ((step % Steps) + 0.5) / Steps)),
        ];
        int top = Array.IndexOf(factors, factors.Max());
        Assert.All(factors, factor => Assert.InRange(factor, 1e-5, 1));
        Assert.InRange(top, (warmup * Epochs * Steps) - 1, (warmup * Epochs * Steps) + 1);
        Assert.True(factors[top] > 0.98);
        for (int i = 1; i < factors.Length; i++)
            Assert.True(i <= top ? factors[i] > factors[i - 1] : factors[i] < factors[i - 1]);
    }
}
