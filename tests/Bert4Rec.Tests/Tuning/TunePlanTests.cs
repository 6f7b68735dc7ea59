using Bert4Rec.Tuning;

namespace Bert4Rec.Tests.Tuning;

/// <summary>How many trials begin, and when all but the best third end.</summary>
public class TunePlanTests
{
    [Theory]
    [InlineData(0, 160, 1, 160)]
    [InlineData(99_999, 160, 1, 160)]
    [InlineData(100_000, 160, 1, 40)]
    [InlineData(167_000, 160, 1, 23)]
    [InlineData(167_000, 160, 5, 25)]
    [InlineData(100_000_000, 160, 1, 12)]
    [InlineData(100_000_000, 7, 5, 7)]
    public void Objectives_are_compared_the_longer_the_fewer_events_there_are(int events, int epochs, int evalStep, int expected)
    {
        var plan = TunePlan.OfObjectives(2, events, epochs, evalStep);
        Assert.Equal(2, plan.Trials);
        Assert.Equal([expected], plan.Epochs);
    }

    [Theory]
    [InlineData(1, 160, 1, new[] { 54 })]
    [InlineData(3, 160, 1, new[] { 54 })]
    [InlineData(9, 160, 1, new[] { 18, 54 })]
    [InlineData(27, 160, 1, new[] { 6, 18, 54 })]
    [InlineData(27, 60, 1, new[] { 3, 7, 20 })]
    [InlineData(27, 4, 1, new[] { 1, 2 })]
    [InlineData(9, 160, 10, new[] { 20, 60 })]
    [InlineData(9, 5, 10, new[] { 5 })]
    public void The_last_rung_has_a_third_of_the_epochs_and_each_before_it_a_third_of_the_next(
        int trials, int epochs, int evalStep, int[] rungs)
    {
        var plan = TunePlan.OfTrials(trials, epochs, evalStep);
        Assert.Equal(trials, plan.Trials);
        Assert.Equal(rungs, plan.Epochs);
    }

    [Theory]
    [InlineData(27, 9)]
    [InlineData(9, 3)]
    [InlineData(5, 2)]
    [InlineData(1, 2)]
    public void A_third_goes_on_and_two_at_least(int trials, int kept) => Assert.Equal(kept, TunePlan.Kept(trials));

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(40)]
    [InlineData(100)]
    [InlineData(400)]
    [InlineData(10_000)]
    public void A_plan_for_a_time_costs_no_more_than_there_is(int affordable)
    {
        var plan = TunePlan.OfEpochs(affordable, bases: 1, epochs: 160, evalStep: 1);
        Assert.Equal([3, 9, 27, 81], new[] { 3, 9, 27, 81 }.Union([plan.Trials]).Order());
        Assert.True(plan.Costs.Sum() <= affordable || plan is { Trials: 3, Epochs: [1] });
        Assert.True(plan.Trials == 3 || plan.Epochs[0] >= 3);
        // Nothing that one could do more of is left.
        Assert.True(affordable < 40 || plan.Costs.Sum() > affordable / 2 || plan is { Trials: 81, Epochs: [.., 160] });
    }

    [Theory]
    [InlineData("90s", 90)]
    [InlineData("30m", 1800)]
    [InlineData("1.5h", 5400)]
    public void A_time_is_read(string text, double seconds)
    {
        Assert.True(TuneBudget.TryParse(text, mayBeTrials: false, out var budget));
        Assert.Equal(seconds, budget.Time!.Value.TotalSeconds, 1e-9);
        Assert.Equal($"{seconds} seconds", budget.ToString());
    }

    [Theory]
    [InlineData("27", 27)]
    [InlineData("1000", 1000)]
    [InlineData("0", null)]
    [InlineData("1001", null)]
    [InlineData("1.5", null)]
    [InlineData("-3", null)]
    [InlineData("m", null)]
    [InlineData("30 m", null)]
    [InlineData("1e3s", null)]
    [InlineData("1001h", null)]
    public void Trials_are_a_whole_number(string text, int? trials)
    {
        Assert.Equal(trials is not null, TuneBudget.TryParse(text, mayBeTrials: true, out var budget));
        if (trials is not null)
            Assert.Equal(trials, budget.Trials);
        Assert.False(TuneBudget.TryParse(text, mayBeTrials: false, out _));
    }
}
